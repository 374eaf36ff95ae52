"""Saving and restoring a run's whole state with orbax, asynchronously."""

from __future__ import annotations

import pathlib
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from soar_jax.settings import SettingsError

Tree = TypeVar("Tree")


class Checkpoints:
    """The checkpoints of one workdir: a pytree of arrays and a JSON record for each saved step."""

    def __init__(self, folder: pathlib.Path, keep: int) -> None:
        """Opens `folder`, making it where needed; the newest `keep` steps are kept."""
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step; None when there is none."""
        return self._manager.latest_step()

    def save(self, step: int, arrays: Any, record: dict[str, Any]) -> None:
        """Starts saving; returns when the arrays are copied, before they are on disk."""
        self._manager.save(
            step, args=ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record))
        )

    def restore(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        """Arrays in the shapes and shardings of `like`, and the record.

        Raises:
          SettingsError: the checkpoint is broken.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(arrays=ocp.args.StandardRestore(target), record=ocp.args.JsonRestore()),
            )
            return restored["arrays"], restored["record"]
        except Exception as error:  # orbax and tensorstore raise many kinds for a damaged checkpoint
            folder = self._manager.directory / str(step)
            raise SettingsError(
                f"checkpoint {folder} is broken ({type(error).__name__}); remove that folder to go on from the one "
                "before it"
            ) from error

    def wait(self) -> None:
        """Returns when everything started is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and frees the manager's threads."""
        self._manager.close()
