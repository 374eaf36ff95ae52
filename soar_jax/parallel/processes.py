"""Runs of several processes: start-up, communication, and checks that all have the same values.

Every process runs the same Python on the same data. Only grading is distributed (`map_across_processes`), and only
process 0 writes files. With one process these functions communicate nothing.
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

from soar_jax.errors import EXIT_LOST_PROCESS, DisagreementError, SettingsError, require
from soar_jax.integers import ceil_div

HEARTBEAT_S = 20  # a process without a heartbeat for this long counts as lost, and the others end
START_S = 300  # how long processes wait for each other at start
_GRACE_S = 3  # time for the other processes to report the same failure

Item = TypeVar("Item")


def initialize(coordinator: str, num_processes: int, process_id: int) -> None:
    """Connects the processes of a run; must be called before JAX is first used.

    Args:
      coordinator: HOST:PORT of process 0; empty on Cloud TPU, under SLURM, or with one process.
      num_processes, process_id: used only with a coordinator.

    Raises:
      SettingsError: the flags are inconsistent, or the processes cannot be connected.
    """
    if not coordinator and not _is_in_cluster():
        require(num_processes == 1 and process_id == 0, "--num_processes and --process_id need --coordinator=HOST:PORT")
        return
    options: dict[str, Any] = {}
    if coordinator:
        require(num_processes >= 1, f"--num_processes is {num_processes}; it must be at least 1")
        require(0 <= process_id < num_processes, f"--process_id is {process_id}; it must be 0 to {num_processes - 1}")
        options = {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}
    ctypes.CDLL(None).signal(signal.SIGABRT, _on_abort)  # JAX aborts also when START_S is over
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(**options, initialization_timeout=START_S, heartbeat_timeout_seconds=HEARTBEAT_S)
    except (RuntimeError, ValueError) as error:
        where = coordinator or "this cluster"
        raise SettingsError(
            f"cannot connect the processes of {where} ({str(error).splitlines()[0]}); is the same command running on "
            "every host?"
        ) from None


def lost(reason: str) -> str:
    """Error message for a lost process."""
    return (
        f"a process of this run has not come, has failed or cannot be reached ({reason}); start the same command on "
        "all hosts again, and it resumes"
    )


def end_at_once(message: str, code: int) -> NoReturn:
    """Ends this process without JAX's clean-up, which would wait for the other processes and then abort.

    Process 0 waits a moment first: without it the others end as lost, though they may be about to report this failure.
    """
    sys.stdout.flush()
    if is_main():
        time.sleep(_GRACE_S)
    _end(message, code)


def _end(message: str, code: int) -> NoReturn:
    os.write(2, f"error: {message}\n".encode())
    os._exit(code)


# A thread of JAX aborts this process when another one stops sending heartbeats. The C library calls this handler, since
# Python's own run only in the main thread, which may be waiting for the lost process.
@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _on_abort(_: int) -> None:
    _end(lost("JAX aborted, see above"), EXIT_LOST_PROCESS)


def _is_in_cluster() -> bool:
    """Whether JAX finds the other processes by itself: several SLURM tasks, or a Cloud TPU host."""
    if os.environ.get("SLURM_NTASKS", "1") != "1" and "SLURM_STEP_NODELIST" in os.environ:  # in a step, by srun
        return True
    return _has_tpu() and "cpu" not in os.environ.get("JAX_PLATFORMS", "")


def _has_tpu() -> bool:
    has_chips = pathlib.Path("/dev/accel0").exists() or pathlib.Path("/dev/vfio/0").exists()
    return has_chips and importlib.util.find_spec("libtpu") is not None


def is_distributed() -> bool:
    """Whether this process is connected to others."""
    return jax.distributed.is_initialized()


def is_main() -> bool:
    """Whether this process writes the run's files."""
    return not is_distributed() or jax.process_index() == 0


def num_processes() -> int:
    """Number of processes; does not initialise JAX where none were connected."""
    return jax.process_count() if is_distributed() else 1


def to_host(array: Any) -> np.ndarray:
    """Gathers an array as NumPy in every process."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    return multihost_utils.process_allgather(array, tiled=True)


def any_process(condition: bool) -> bool:
    """Logical OR over processes."""
    if num_processes() == 1:
        return condition
    return bool(multihost_utils.process_allgather(np.array([condition])).any())


def broadcast_from_main(make: Callable[[], Any]) -> Any:
    """Calls `make` in process 0 only and returns its JSON-serialisable result in all processes."""
    if num_processes() == 1:
        return make()
    text = np.frombuffer(json.dumps(make()).encode() if is_main() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    received = multihost_utils.broadcast_one_to_all(text if is_main() else np.zeros(size, np.uint8))
    return json.loads(received.tobytes())


def sync() -> None:
    """Barrier over all processes."""
    if num_processes() > 1:
        multihost_utils.sync_global_devices("soar_jax")


def assert_equal(name: str, value: Any) -> None:
    """Checks that all processes have the same JSON-serialisable value.

    Raises:
      DisagreementError: they do not; the message contains `name`.
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
    """Computes `function(items)`, an int32 per item in order, on equal shards of the items, one per process."""
    count = num_processes()
    if count == 1:
        return list(function(items))
    size = ceil_div(len(items), count)
    start = min(len(items), size * jax.process_index())
    own = list(function(items[start : start + size]))
    padded = np.array(own + [0] * (size - len(own)), np.int32)
    return multihost_utils.process_allgather(padded).reshape(-1)[: len(items)].tolist()
