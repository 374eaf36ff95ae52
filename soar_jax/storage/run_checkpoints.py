"""Saves and restores a run's full state with orbax, asynchronously."""

from __future__ import annotations

import contextlib
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from soar_jax.errors import InterruptedRunError, SettingsError, require
from soar_jax.parallel import processes
from soar_jax.storage import files
from soar_jax.storage.array_reads import read_arrays, without_barriers

Tree = TypeVar("Tree")

# In tensorstore's error messages.
_STORAGE_ERRORS = re.compile(
    "RESOURCE_EXHAUSTED|PERMISSION_DENIED|UNAVAILABLE|No space left on device|Disk quota exceeded"
)
_MIN_SLICE_BYTES = 2**24  # of an array that its replicas write in parts


class Checkpoints:
    """Checkpoints of one workdir: a pytree of arrays and a JSON record per saved step."""

    def __init__(self, folder: epath.Path, keep: int, keep_every: int = 0) -> None:
        """Opens or creates `folder`, and removes the files of unfinished saves.

        Args:
          keep: number of newest checkpoints to keep.
          keep_every: also keep every N-th step; 0 is off.
        """
        # Of small arrays, parts by replica would save little time, and each shape takes a program.
        whole = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_MIN_SLICE_BYTES)
        kinds = ocp.type_handlers.create_type_handler_registry(
            (np.ndarray, ocp.type_handlers.NumpyHandler()), (jax.Array, whole)
        )
        handlers = {
            "arrays": ocp.PyTreeCheckpointHandler(type_handler_registry=kinds),
            "record": ocp.JsonCheckpointHandler(),
        }
        policies = ocp.checkpoint_managers
        preserved: list[Any] = [policies.LatestN(keep)]
        if keep_every:
            preserved.append(policies.EveryNSteps(keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(preserved),
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(files.absolute(folder), options=options, item_handlers=handlers)

    def save(self, step: int, arrays: Any, record: dict[str, Any]) -> None:
        """Starts a save; returns when the arrays are copied, before they are on disk."""
        record = record | {"checksums": _checksums(arrays, record)}
        items = ocp.args.Composite(arrays=ocp.args.PyTreeSave(arrays), record=ocp.args.JsonSave(record))
        with self._writing():
            self._manager.save(step, args=items)

    def restore_newest(self, like: Tree, say: Callable[[str], None]) -> tuple[int, Tree, dict[str, Any]] | None:
        """Restores the newest valid checkpoint, and renames broken newer ones so that their steps can be saved again.

        Args:
          like: arrays, or shapes with shardings, that the restored arrays match, whatever mesh they were saved on.
          say: receives one line for each broken checkpoint.

        Returns:
          Its step, arrays and record; None if no checkpoint was ever saved.

        Raises:
          SettingsError: there are checkpoints, and all are broken; none is renamed.
        """
        broken: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            found, cause = self._try_restore(step, like)
            if found is None:
                broken[step] = cause
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

    def _try_restore(self, step: int, like: Tree) -> tuple[tuple[Tree, dict[str, Any]] | None, str]:
        """Returns arrays and record of a step, or None and the cause; consistent across processes."""
        found, cause = None, "another process cannot read it"
        try:
            found = self._read(step, like)
        except InterruptedRunError:
            raise
        except Exception as error:  # orbax and tensorstore raise many kinds
            cause = _cause(error)
        if processes.any_process(found is None):
            return None, cause
        assert found is not None
        try:
            _verify(*found)
        except (TypeError, ValueError) as error:
            found, cause = None, _cause(error)
        return (None, cause) if processes.any_process(found is None) else (found, "")

    def _read(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        """Reads this process's shards of a step, without barriers, since other processes may fail."""
        folder = self._folder(step)
        return read_arrays(folder / "arrays", like, is_partial=False), _read_record(folder)

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
        """Waits until all started saves are on disk."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for saves, and frees the manager's threads."""
        with self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns storage errors, which tensorstore raises as `ValueError` and maybe late, into `OSError`."""
        try:
            yield
        except ValueError as error:
            cause = max(_STORAGE_ERRORS.findall(str(error)), key=len, default="")  # the most specific
            if not cause:
                raise
            raise OSError(f"cannot write a checkpoint to {self._manager.directory}: {cause}") from error


def read_newest(folder: epath.Path, keys: Sequence[str], like: Any) -> tuple[Any, dict[str, Any]] | None:
    """Reads one subtree of the newest checkpoint onto the host, and its record; writes nothing.

    The other arrays are not read, so neither optimiser states nor devices take part.

    Args:
      keys: path of the subtree in the saved arrays.
      like: shapes and dtypes of the subtree.

    Returns:
      The subtree in NumPy, and the record; None if no checkpoint was ever saved.

    Raises:
      SettingsError: the folder or the newest checkpoint cannot be read.
    """
    for key in reversed(keys):
        like = {key: like}
    steps = saved_steps(folder)
    if not steps:
        return None
    newest = files.absolute(folder) / str(max(steps))
    try:
        found = read_arrays(newest / "arrays", like, is_partial=True, on_host=True)
        record = _read_record(newest)
        _verify(found, record)
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise SettingsError(f"checkpoint {newest} is broken ({_cause(error)})") from error
    for key in keys:
        found = found[key]
    return found, record


def saved_steps(folder: epath.Path) -> list[int]:
    """Returns the steps that were saved, in order; none if the folder does not exist.

    Raises:
      SettingsError: the folder cannot be read.
    """
    try:
        return sorted(ocp.utils.checkpoint_steps(folder)) if folder.exists() else []
    except OSError as error:
        raise SettingsError(f"cannot read {folder}: {files.error_reason(error)}") from None


def read_record(folder: epath.Path, step: int) -> dict[str, Any]:
    """Reads the record of a saved step; writes nothing.

    Raises:
      SettingsError: it cannot be read, or is not what was saved.
    """
    path = files.absolute(folder) / str(step)
    try:
        record = _read_record(path)
        _verify({}, record)
    except Exception as error:  # orbax raises many kinds
        raise SettingsError(f"checkpoint {path} is broken ({_cause(error)})") from error
    return record


def restore_parts(folder: epath.Path, step: int, like: Tree) -> Tree:
    """Restores subtrees of a saved step onto devices; writes nothing, and reads no other arrays.

    Args:
      like: nested dicts of arrays, whose paths and shapes are those of the saved ones and whose shardings they get.

    Raises:
      SettingsError: the step cannot be read, or is not what was saved.
    """
    path, cause = files.absolute(folder) / str(step), "another process cannot read it"
    found: Tree | None = None
    try:
        record = _read_record(path)
        found = read_arrays(path / "arrays", like, is_partial=True)
    except InterruptedRunError:
        raise
    except Exception as error:  # orbax and tensorstore raise many kinds
        cause = _cause(error)
    require(not processes.any_process(found is None), f"checkpoint {path} is broken ({cause})")
    assert found is not None
    try:
        _verify(found, record)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"checkpoint {path} is broken ({_cause(error)})") from None
    return found


def _read_record(path: epath.Path) -> dict[str, Any]:
    """Reads the record of a checkpoint, with its checksums."""
    options = without_barriers()
    handler = ocp.JsonCheckpointHandler(multiprocessing_options=options)
    with ocp.Checkpointer(handler, multiprocessing_options=options) as reader:
        record: dict[str, Any] = reader.restore(path / "record", args=ocp.args.JsonRestore())
    return record


def _cause(error: BaseException) -> str:
    """Summarizes why a checkpoint cannot be read: the first error of those that led to this one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _verify(arrays: Any, record: dict[str, Any]) -> None:
    """Compares restored arrays with the checksums in the record, and removes these from it.

    Args:
      arrays: the saved tree or a subtree under the same paths; on devices or in NumPy.

    Raises:
      ValueError: a checksum is missing or differs.
    """
    saved = record.pop("checksums", None)
    sums = _checksums(arrays, record)  # collective: all processes must take part
    if not isinstance(saved, dict):
        raise ValueError("it was saved by another version of soar_jax")
    if any(saved.get(path) != found for path, found in sums.items()):
        raise ValueError("its numbers are not those that were saved")


def _checksums(arrays: Any, record: dict[str, Any]) -> dict[str, int]:
    """Returns checksums of the record and of each leaf by path, equal on every mesh, to detect flipped bits."""
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
