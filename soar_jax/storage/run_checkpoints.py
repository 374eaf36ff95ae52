"""Saving and restoring a run's whole state with orbax, asynchronously."""

from __future__ import annotations

import contextlib
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from soar_jax.parallel import processes
from soar_jax.runs.interrupts import InterruptedRunError
from soar_jax.settings import SettingsError
from soar_jax.storage import files

Tree = TypeVar("Tree")

# By their names in tensorstore's messages.
_STORAGE_TROUBLE = re.compile(
    "RESOURCE_EXHAUSTED|PERMISSION_DENIED|UNAVAILABLE|No space left on device|Disk quota exceeded"
)


class Checkpoints:
    """The checkpoints of one workdir: a pytree of arrays and a JSON record for each saved step."""

    def __init__(self, folder: epath.Path, keep: int, keep_every: int = 0) -> None:
        """Opens `folder`, making it where needed, and clears what saves that were cut off have left there.

        Args:
          keep: the newest so many steps are kept.
          keep_every: every so many-th step is kept for good; 0: none is.
        """
        policies = ocp.checkpoint_managers
        kept: list[Any] = [policies.LatestN(keep)]
        if keep_every:
            kept.append(policies.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(files.absolute(folder), options=options)

    def save(self, step: int, arrays: Any, record: dict[str, Any]) -> None:
        """Starts saving; returns when the arrays are copied, before they are on disk."""
        record = record | {"checksums": _checksums(arrays, record)}
        both = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record))
        with self._writing():
            self._manager.save(step, args=both)

    def restore_newest(self, like: Tree, say: Callable[[str], None]) -> tuple[int, Tree, dict[str, Any]] | None:
        """The newest whole checkpoint; broken newer ones are renamed out of the way, so that their steps can be saved.

        Args:
          like: arrays or shapes with shardings; what is restored has these, on whatever mesh it was saved.
          say: is told in a line which checkpoint was passed over, and why.

        Returns:
          Its step, arrays and record; None where no checkpoint was ever saved.

        Raises:
          SettingsError: there are checkpoints, and all of them are broken; they stay as they are.
        """
        broken: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            found, trouble = self._try(step, like)
            if found is None:
                broken[step] = trouble
                continue
            for broken_step, reason in broken.items():
                aside = self._move_aside(broken_step)
                say(f"checkpoint {broken_step} is broken ({reason}): kept as {aside}, going on from checkpoint {step}")
            return step, *found
        if broken:
            raise SettingsError(
                f"no checkpoint in {self._manager.directory} can be read (the newest, {max(broken)}: "
                f"{broken[max(broken)]}); bring one back, or start anew in another --workdir"
            )
        return None

    def _try(self, step: int, like: Tree) -> tuple[tuple[Tree, dict[str, Any]] | None, str]:
        """Arrays and record of a step, or None and why not; the same in all processes."""
        found, trouble = None, "another process cannot read it"
        try:
            found = self._read(step, like)
        except InterruptedRunError:
            raise
        except Exception as error:  # orbax and tensorstore raise many kinds for a damaged checkpoint
            trouble = why_broken(error)
        if processes.any_process(found is None):
            return None, trouble
        assert found is not None
        try:
            verify(*found)
        except (TypeError, ValueError) as error:
            found, trouble = None, why_broken(error)
        return (None, trouble) if processes.any_process(found is None) else (found, "")

    def _read(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        """This process's part of a step, without waiting for the others, of whom some may not come through."""
        folder, target = self._folder(step), jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        own = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(own, active_processes={own}, barrier_sync_key_prefix=str(own))
        arrays_of = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        record_of = ocp.JsonCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(arrays_of, multiprocessing_options=alone) as reader:
            arrays = reader.restore(folder / "arrays", args=ocp.args.StandardRestore(target))
        with ocp.Checkpointer(record_of, multiprocessing_options=alone) as reader:
            record = reader.restore(folder / "record", args=ocp.args.JsonRestore())
        return arrays, record

    def _folder(self, step: int) -> epath.Path:
        return epath.Path(self._manager.directory) / str(step)

    def _move_aside(self, step: int) -> epath.Path:
        folder = self._folder(step)
        aside = folder.with_name(f"{step}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
        if processes.is_main():
            folder.rename(aside)
        processes.sync()
        self._manager.reload()
        return aside

    def wait(self) -> None:
        """Returns when everything started is on disk."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and frees the manager's threads."""
        with self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Makes an `OSError` of storage's troubles, which tensorstore raises as `ValueError`, also an earlier save's.

        Raises:
          OSError: storage is full or cannot be written.
        """
        try:
            yield
        except ValueError as error:
            trouble = max(_STORAGE_TROUBLE.findall(str(error)), key=len, default="")  # the longest says most
            if not trouble:
                raise
            raise OSError(f"cannot write a checkpoint to {self._manager.directory}: {trouble}") from error


def why_broken(error: Exception) -> str:
    """In half a line, what was wrong with a checkpoint that could not be read."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def verify(arrays: Any, record: dict[str, Any]) -> None:
    """Compares what was read from a checkpoint with the checksums in its record, and takes these out.

    Args:
      arrays: what was saved, or a part of it under the keys that lead to it; on devices or in NumPy.

    Raises:
      ValueError: other numbers than were saved.
    """
    saved = record.pop("checksums", None)
    sums = _checksums(arrays, record)  # by all processes together, whatever each has read
    if not isinstance(saved, dict):
        raise ValueError("it was saved by another version of soar_jax")
    if any(saved.get(path) != found for path, found in sums.items()):
        raise ValueError("its numbers are not those that were saved")


def _checksums(arrays: Any, record: dict[str, Any]) -> dict[str, int]:
    """Of the record and of each leaf by its path, the same on every mesh: storage does not notice a flipped bit."""
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)
    }
    sums = {path: _sum_on_host(leaf) for path, leaf in named.items() if isinstance(leaf, np.ndarray)}
    on_devices = [path for path in named if path not in sums]
    if on_devices:
        found = processes.to_host(_sums([named[path] for path in on_devices])).tolist()
        sums |= dict(zip(on_devices, found, strict=True))
    return {"record": zlib.crc32(json.dumps(record, sort_keys=True).encode())} | sums


def _sum_on_host(leaf: np.ndarray) -> int:
    return int(leaf.view(f"uint{8 * leaf.dtype.itemsize}").sum(dtype=np.uint32))


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
    words = [jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}") for leaf in leaves]
    return jnp.stack([word.sum(dtype=jnp.uint32) for word in words])
