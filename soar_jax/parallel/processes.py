"""Several processes that run one program: start-up, what they tell each other, and the check that they agree.

Every process runs the same Python on the same data. Only grading is divided (`map_across_processes`), and only process
0 writes files. With one process all of this costs nothing.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from soar_jax.settings import EXIT_LOST_PROCESS, SettingsError, require

HEARTBEAT_S = 20  # without a sign of life for so long a process counts as dead, and the others end
START_S = 300  # processes wait so long for each other at start
_GRACE_S = 3  # for the others to fail alike

Item = TypeVar("Item")


class DisagreementError(RuntimeError):
    """Processes came to different results; going on would train different models as one."""


def initialize(coordinator: str, num_processes: int, process_id: int) -> None:
    """Connects the processes of a run, before JAX is first used.

    Args:
      coordinator: HOST:PORT of process 0; empty where Cloud TPU or SLURM say all of it, or where there is one process.
      num_processes, process_id: how many and which; read only with a coordinator.

    Raises:
      SettingsError: the flags do not fit together, or the processes cannot be connected.
    """
    if not coordinator and not _is_in_cluster():
        require(num_processes == 1 and process_id == 0, "--num_processes and --process_id need --coordinator=HOST:PORT")
        return
    given: dict[str, Any] = {}
    if coordinator:
        require(num_processes >= 1, f"--num_processes is {num_processes}; it must be at least 1")
        require(0 <= process_id < num_processes, f"--process_id is {process_id}; it must be 0 to {num_processes - 1}")
        given = {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}
    ctypes.CDLL(None).signal(signal.SIGABRT, _on_abort)  # also when a process waits in vain for the others
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(**given, initialization_timeout=START_S, heartbeat_timeout_seconds=HEARTBEAT_S)
    except (RuntimeError, ValueError) as error:
        where = coordinator or "this cluster"
        raise SettingsError(
            f"cannot connect the processes of {where} ({str(error).splitlines()[0]}); is the same command running on "
            "every host?"
        ) from None


def lost(reason: str) -> str:
    """What to say where another process is lost, or where this one and the others would wait for it."""
    return (
        f"a process of this run has not come, has failed or cannot be reached ({reason}); start the same command on "
        "all hosts again, and it resumes"
    )


def end_at_once(message: str, code: int) -> NoReturn:
    """Ends this process where others are lost or at work: JAX's own clean-up would wait for them, and then abort.

    Without process 0 the others end as lost; where they are about to fail as it does, it lets them.
    """
    sys.stdout.flush()
    if is_main():
        time.sleep(_GRACE_S)
    _end(message, code)


def _end(message: str, code: int) -> NoReturn:
    os.write(2, f"error: {message}\n".encode())
    os._exit(code)


# A thread of JAX aborts the process when another one's heartbeats stay away. Python's own signal handlers run in the
# main thread alone, which may wait for the lost process for ever, so the C library has to call this one.
@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _on_abort(_: int) -> None:
    _end(lost("JAX aborted, see above"), EXIT_LOST_PROCESS)


def _is_in_cluster() -> bool:
    """Whether JAX can find the other processes by itself: several SLURM tasks, or a Cloud TPU host."""
    if os.environ.get("SLURM_NTASKS", "1") != "1" and "SLURM_STEP_NODELIST" in os.environ:  # in a step, by srun
        return True
    return _has_tpu() and "cpu" not in os.environ.get("JAX_PLATFORMS", "")


def _has_tpu() -> bool:
    has_chips = pathlib.Path("/dev/accel0").exists() or pathlib.Path("/dev/vfio/0").exists()
    return has_chips and importlib.util.find_spec("libtpu") is not None


def is_distributed() -> bool:
    """Whether this process is one of several that found each other."""
    return jax.distributed.is_initialized()


def is_main() -> bool:
    """Whether this process writes the run's files."""
    return not is_distributed() or jax.process_index() == 0


def num_processes() -> int:
    """Processes of this run; asks no device where none were connected, so that a program without JAX starts none."""
    return jax.process_count() if is_distributed() else 1


def to_host(array: Any) -> np.ndarray:
    """The whole array as NumPy, in every process."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    return multihost_utils.process_allgather(array, tiled=True)


def any_process(told: bool) -> bool:
    """Whether any process was told so; all learn the same."""
    if num_processes() == 1:
        return told
    return bool(multihost_utils.process_allgather(np.array([told])).any())


def broadcast_from_main(make: Callable[[], Any]) -> Any:
    """`make()` of process 0, anything that JSON can hold, in all processes; the others do not call it."""
    if num_processes() == 1:
        return make()
    text = np.frombuffer(json.dumps(make()).encode() if is_main() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    told = multihost_utils.broadcast_one_to_all(text if is_main() else np.zeros(size, np.uint8))
    return json.loads(told.tobytes())


def sync() -> None:
    """Returns when every process has come here."""
    if num_processes() > 1:
        multihost_utils.sync_global_devices("soar_jax")


def assert_equal(name: str, value: Any) -> None:
    """Checks that all processes have the same value (anything that JSON can hold).

    Raises:
      DisagreementError: names it.
    """
    if num_processes() == 1:
        return
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    found = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))
    if not (found == found[0]).all():
        raise DisagreementError(
            f"the processes do not agree on {name}; start all of them with the same code, files and config"
        )


def map_across_processes(function: Callable[[Sequence[Item]], Sequence[int]], items: Sequence[Item]) -> list[int]:
    """`function(items)`, small integers in their order, each process doing its part of the items."""
    count = num_processes()
    if count == 1:
        return list(function(items))
    size = -(-len(items) // count)
    start = min(len(items), size * jax.process_index())
    own = list(function(items[start : start + size]))
    padded = np.array(own + [0] * (size - len(own)), np.int32)
    return multihost_utils.process_allgather(padded).reshape(-1)[: len(items)].tolist()
