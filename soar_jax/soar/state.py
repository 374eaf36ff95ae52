"""The state of a run: one pytree of arrays and a small record, enough to go on exactly."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct

from soar_jax.model.parameters import Params
from soar_jax.rl.population import init_policy
from soar_jax.rl.train_step import TrainState
from soar_jax.runs.build import Setup
from soar_jax.soar.promotion import StepOutcome


@flax.struct.dataclass(kw_only=True)
class RunArrays:
    """Everything that is arrays."""

    teacher: TrainState
    baseline: Params  # the student that the next rewards are measured against
    # the promoted student so far with the best validation accuracy; the base model solves no hard problem
    best: Params
    # best students of the steps before, oldest first: what a promotion may take besides this step's
    window: tuple[Params, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promotion:
    """One promotion, with the questions that made it."""

    outer_step: int  # when it was decided
    source_step: int  # whose best student was taken
    dataset: int
    reward: float
    validation_accuracy: float
    questions: tuple[tuple[str, str], ...]  # (question, the teacher's answer)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Everything that is not arrays; JSON through `to_json` and `from_json`."""

    outer_step: int = 0  # outer steps completed
    window: tuple[StepOutcome, ...] = ()
    # questions of the best dataset of each step of the window, oldest first
    window_questions: tuple[tuple[tuple[str, str], ...], ...] = ()
    promotions: tuple[Promotion, ...] = ()
    best_promotion: int = 0  # promotions behind `RunArrays.best`
    best_validation: float = 0.0
    baseline_validation: float = 0.0
    num_idle_steps: int = 0  # outer steps in which every reward was zero
    num_sampled_tokens: int = 0
    num_student_steps: int = 0  # updates of all students together
    finished: bool = False  # stopped early, or all outer steps done
    file_sizes: dict[str, int] = dataclasses.field(default_factory=dict)  # bytes of the files beside it

    @property
    def promoted_datasets(self) -> set[tuple[int, int]]:
        """Outer step and number of each dataset whose student was promoted."""
        return {(promotion.source_step, promotion.dataset) for promotion in self.promotions}

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(raw: dict[str, Any]) -> Progress:
        """The inverse of `to_json`."""

        def pairs(questions: Any) -> tuple[tuple[str, str], ...]:
            return tuple((question, answer) for question, answer in questions)

        return Progress(
            **raw
            | {
                "window": tuple(StepOutcome(**step) for step in raw["window"]),
                "window_questions": tuple(pairs(questions) for questions in raw["window_questions"]),
                "promotions": tuple(
                    Promotion(**promotion | {"questions": pairs(promotion["questions"])})
                    for promotion in raw["promotions"]
                ),
            }
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepResult:
    """What an outer step leaves."""

    arrays: RunArrays
    progress: Progress
    metrics: dict[str, Any]  # one row of metrics.jsonl
    ledger: list[dict[str, Any]]  # one row a question


def initial_arrays(setup: Setup) -> RunArrays:
    """Teacher and baseline student both start as the base model (paper)."""
    # This step's best student is at hand when one of the window is promoted.
    window = setup.promotion.window - 1 if setup.promotion.student == "window_best" else 0
    optimizer = setup.teacher.optimizer
    return RunArrays(
        teacher=init_policy(setup.start, mesh=setup.mesh, model=setup.sampler.model, optimizer=optimizer),
        baseline=setup.start,
        best=setup.start,
        window=(setup.start,) * window,
    )
