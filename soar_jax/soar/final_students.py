"""Fresh students, trained through stages of questions and followed on validation problems."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.rl.population import init_population
from soar_jax.rl.train_step import TrainState
from soar_jax.rng import stream_key
from soar_jax.runs.build import Setup
from soar_jax.runs.display import Phase
from soar_jax.soar.curricula import Stage
from soar_jax.soar.inner_loop import Curriculum, continue_population


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalStudents:
    """Trained replicas of one kind of student."""

    params: Params  # leaves [replicas, ...]
    student_steps: int  # of each, with those behind the policy it started from
    trained_steps: int  # of each, here
    curve: list[dict[str, Any]]  # validation accuracy along the way


def train_through(
    setup: Setup, name: str, start: Params, steps_before: int, stages: tuple[Stage, ...], split: HardSplit, phase: Phase
) -> FinalStudents:
    """Trains `final.num_replicas` copies of a policy through stages, the optimiser running on from stage to stage.

    All kinds of students make the same draws, so that what differs between them is what they are asked.

    Args:
      start: the policy that all replicas start from; not changed.
      steps_before: student steps behind it.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    follower = Follower(setup, name, start=start, steps_before=steps_before, split=split, phase=phase)
    for stage in stages:
        for _ in range(stage.num_steps // setup.config.inner.num_steps):
            follower.train(Curriculum(questions=(stage.questions,) * setup.config.final.num_replicas), stage)
    return follower.students()


class Follower:
    """Replicas in training: an episode at a time, each followed by a look at the validation problems."""

    def __init__(
        self, setup: Setup, name: str, start: Params, steps_before: int, split: HardSplit, phase: Phase
    ) -> None:
        """Fresh replicas of `start`."""
        size = setup.config.final.num_replicas
        self._setup, self._name, self._reference, self._before = setup, name, start, steps_before
        self._split, self._phase = split, phase
        self._episodes = 0
        self._stage: Stage | None = None
        self._stage_episodes = 0
        self.states: TrainState = init_population(
            start, mesh=setup.mesh, model=setup.sampler.model, optimizer=setup.student.optimizer, size=size
        )
        self._curve: list[dict[str, Any]] = []
        self._look("start", True)

    def train(self, curriculum: Curriculum, stage: Stage) -> None:
        """One episode on the curriculum; within a stage it goes on where the episode before ended."""
        if stage is not self._stage:
            self._stage, self._stage_episodes = stage, 0
        done, total = self._steps, self._setup.config.final.num_steps
        with self._phase(f"training {self._name}, {done} of {total} student steps"):
            self.states = continue_population(
                self._setup,
                self.states,
                reference=self._reference,
                curriculum=curriculum,
                stream="final",
                indices=(self._episodes,),
                earlier_episodes=self._stage_episodes,
            ).states
        self._episodes += 1
        self._stage_episodes += 1
        self._look(stage.name, stage.is_synthetic)

    def students(self) -> FinalStudents:
        """The replicas as they are now."""
        trained = self._steps - self._before
        return FinalStudents(
            params=self.states.weights, student_steps=self._steps, trained_steps=trained, curve=self._curve
        )

    @property
    def _steps(self) -> int:
        return self._before + self._episodes * self._setup.config.inner.num_steps

    def _look(self, stage: str, is_synthetic: bool) -> None:
        accuracy = validation_accuracies(self._setup, self.states.weights, self._split)
        row = {"student_steps": self._steps, "stage": stage, "is_synthetic": is_synthetic}
        self._curve.append(row | {"validation": accuracy.tolist()})


def validation_accuracies(setup: Setup, params: Params, split: HardSplit) -> np.ndarray:
    """Mean share of right answers of each replica to the validation problems: [replicas]."""
    evaluation = setup.config.evaluation
    counts = setup.evaluator.count_correct_population(
        params,
        setup.config.final.num_replicas,
        problems=split.validation,
        key=stream_key(setup.config.seed, "validation"),
        settings=setup.evaluation_sampling(evaluation.temperature, evaluation.top_p),
        samples_per_problem=evaluation.validation_samples,
    )
    return counts.mean(axis=1) / evaluation.validation_samples
