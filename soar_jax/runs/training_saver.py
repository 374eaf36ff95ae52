"""Saves final students in training, so that a run that was stopped continues them."""

from __future__ import annotations

from typing import Any

from soar_jax.rl.train_step import TrainState
from soar_jax.runs.context import RunContext
from soar_jax.storage.run_checkpoints import Checkpoints

FOLDER = "final_training"  # in the workdir; a folder for each kind of final students that has begun


class RunTrainingSaver:
    """The newest state of one kind of final students, with the tokens and the time that it took.

    The folder is made by the first `save`.
    """

    def __init__(self, context: RunContext, name: str) -> None:
        self._context, self._folder = context, context.workdir / FOLDER / name
        self._checkpoints: Checkpoints | None = None
        meter = context.setup.meter
        self._tokens_before, self._flops_before = meter.num_tokens, meter.num_flops
        self._wall_s_before = context.clock.wall_s

    def save(self, states: TrainState, record: dict[str, Any]) -> None:
        """Saves states and a record in JSON, in place of earlier ones; on disk when this returns."""
        work = {
            "num_sampled_tokens": self._context.setup.meter.num_tokens - self._tokens_before,
            "num_flops": self._context.setup.meter.num_flops - self._flops_before,
            "wall_s": self._context.clock.wall_s - self._wall_s_before,
        }
        checkpoints = self._open()
        checkpoints.save(record["student_steps"], states, {"training": record} | work)
        checkpoints.wait()

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """Returns what an earlier start has saved, and adds its tokens and time to this one's; None for nothing."""
        found = self._open().restore_newest(like, self._context.display.say) if self._folder.exists() else None
        if found is None:
            return None
        step, states, record = found
        self._context.setup.meter.num_tokens += record["num_sampled_tokens"]
        self._context.setup.meter.num_flops += record["num_flops"]
        self._context.clock.earlier_s += record["wall_s"]
        self._context.display.say(f"resuming {self._folder.name} after student step {step}")
        return states, record["training"]

    def close(self) -> None:
        """Frees the threads of the checkpoints."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def _open(self) -> Checkpoints:
        if self._checkpoints is None:
            self._checkpoints = Checkpoints(self._folder, keep=1)
        return self._checkpoints
