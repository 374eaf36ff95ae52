"""The state of a run: a pytree of arrays and a small record, enough to resume bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.rl.population import init_policy
from soar_jax.rl.train_step import TrainState
from soar_jax.soar.promotion import StepOutcome
from soar_jax.soar.setup import Setup, selection_accuracy


@flax.struct.dataclass(kw_only=True)
class RunArrays:
    """The arrays of the state; field names are paths in saved checkpoints."""

    teacher: TrainState
    baseline: Params  # baseline student: rewards are measured against it
    best: Params  # promoted student of the best `selection_accuracy`; the base model before the first promotion
    window: tuple[Params, ...]  # candidates of earlier steps that a promotion may take, oldest first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promotion:
    """A promotion, with the questions that its student was trained on; field names are those of saved records."""

    outer_step: int  # at which it was decided
    source_step: int  # in which the student was trained
    dataset: int
    reward: float  # of the dataset
    validation_accuracy: float  # `selection_accuracy`: on hard validation, or without such a set on hard train
    questions: tuple[tuple[str, str], ...]  # (question, the teacher's answer)
    num_steps: int = 0  # student steps of the episode; 0 in old records: `inner.num_steps`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """The part of the state that is saved as JSON, by these names."""

    outer_step: int = 0  # outer steps completed
    window: tuple[StepOutcome, ...] = ()
    # (question, answer) pairs of the best dataset of each step of the window, oldest first
    window_questions: tuple[tuple[tuple[str, str], ...], ...] = ()
    promotions: tuple[Promotion, ...] = ()
    best_promotion: int = 0  # number of promotions up to `RunArrays.best`
    best_validation: float = 0.0  # `selection_accuracy` of `RunArrays.best`
    baseline_validation: float = 0.0  # `selection_accuracy` of the baseline student; 0 where no student is measured
    num_idle_steps: int = 0  # outer steps in which every reward was zero
    num_sampled_tokens: int = 0
    num_flops: int = 0  # as the work meter counts them
    num_student_steps: int = 0  # updates, summed over students
    finished: bool = False  # all outer steps are done, or the goal was reached
    file_sizes: dict[str, int] = dataclasses.field(default_factory=dict)  # bytes of each file of `RunFiles`

    def to_json(self) -> dict[str, Any]:
        """Converts to plain dicts and lists."""
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
    """The state after an outer step, and the rows that it adds to the files."""

    arrays: RunArrays
    progress: Progress
    metrics: dict[str, Any]  # one row of metrics.jsonl
    ledger: list[dict[str, Any]]  # one row per question
    completions: list[dict[str, Any]]  # rows of completions.jsonl


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The outcome of the outer loop, input of the final evaluation."""

    arrays: RunArrays
    progress: Progress
    split: HardSplit


def initial_arrays(setup: Setup) -> RunArrays:
    """Makes teacher and baseline student, both copies of the base model (paper, section 3)."""
    base, optimizer = setup.base_weights, setup.teacher.optimizer
    return RunArrays(
        teacher=init_policy(base, mesh=setup.mesh, model=setup.sampler.model, optimizer=optimizer),
        baseline=base,
        best=base,
        window=(base,) * setup.config.promotion.num_kept_students,
    )


def initial_progress(setup: Setup, split: HardSplit) -> Progress:
    """Measures the base model, which is the first baseline student, where the outer loop measures students."""
    if not setup.config.measures_students:
        return Progress()
    accuracy = selection_accuracy(setup, setup.base_weights, split)
    return Progress(baseline_validation=accuracy, best_validation=accuracy)
