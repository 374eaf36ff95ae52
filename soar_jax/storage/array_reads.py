"""Reads the arrays of a run checkpoint with orbax, which a broken file ends with one error and no running reads.

Orbax reads all arrays of a checkpoint at once, in an event loop that it closes at the first error. Reads that still
run then report to a closed loop, each with a traceback of its own. The type handlers here wait for them first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

T = TypeVar("T")


def read_arrays(folder: epath.Path, like: T, *, is_partial: bool, on_host: bool = False) -> T:
    """Reads arrays in this process alone, which waits for no other: that one may have failed.

    Args:
      folder: of the arrays of a checkpoint.
      like: arrays, or shapes with shardings, that the result matches.
      is_partial: whether the checkpoint may have arrays that `like` lacks; these are not read.
      on_host: whether to read into NumPy arrays.
    """
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    if on_host:
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), target)
    else:
        restore_args = ocp.checkpoint_utils.construct_restore_args(target)
    args = ocp.args.PyTreeRestore(item=target, restore_args=restore_args, partial_restore=is_partial)
    options = without_barriers()
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options, type_handler_registry=_registry())
    with ocp.Checkpointer(handler, multiprocessing_options=options) as reader:
        found: T = reader.restore(folder, args=args)
    return found


def without_barriers() -> Any:
    """Options of a read by this process alone."""
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(own, active_processes={own}, barrier_sync_key_prefix=str(own))


class _ArrayHandler(ocp.type_handlers.ArrayHandler):
    """Reads arrays onto devices."""

    async def deserialize(self, infos: Sequence[Any], args: Sequence[Any] | None = None) -> Sequence[jax.Array]:
        return await _finish_reads(super().deserialize(infos, args))


class _NumpyHandler(ocp.type_handlers.NumpyHandler):
    """Reads arrays onto the host."""

    async def deserialize(self, infos: Sequence[Any], args: Sequence[Any] | None = None) -> Sequence[np.ndarray]:
        return await _finish_reads(super().deserialize(infos, args))


def _registry() -> Any:
    return ocp.type_handlers.create_type_handler_registry((np.ndarray, _NumpyHandler()), (jax.Array, _ArrayHandler()))


async def _finish_reads(reads: Awaitable[T]) -> T:
    """Awaits reads; after an error of one, waits for the others before it is raised."""
    before = asyncio.all_tasks()
    try:
        return await reads
    except Exception:
        while others := asyncio.all_tasks() - before:  # a read may start others
            await asyncio.gather(*others, return_exceptions=True)
        raise
