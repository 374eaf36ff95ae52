"""Trains final students: replicas of one policy, one episode at a time, validated after each."""

from __future__ import annotations

import dataclasses
from typing import Any

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.rl.population import init_population
from soar_jax.rl.train_step import TrainState
from soar_jax.soar.curricula import Stage
from soar_jax.soar.inner_loop import EpisodeName, QuestionSets, continue_population
from soar_jax.soar.setup import Setup, validation_accuracy
from soar_jax.types import Phase


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalStudents:
    """Trained replicas of one kind of final student."""

    weights: Params  # leaves [replicas, ...]
    student_steps: int  # of each replica, including those of the policy it started from
    trained_steps: int  # of each replica, without those
    curve: list[dict[str, Any]]  # validation accuracy after each episode
    written: tuple[Stage, ...] = ()  # self-play: questions of the first replica


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The policy that the replicas start from."""

    name: str  # of the kind of final student
    weights: Params  # of one policy; not donated
    student_steps: int = 0  # that the policy was trained for


class FinalTrainer:
    """Replicas in training; the optimiser state is kept from stage to stage.

    All kinds of final students use the same random keys, so that only their questions differ.
    """

    def __init__(self, setup: Setup, start: Start, split: HardSplit, phase: Phase) -> None:
        self._setup, self._start, self._split, self._phase = setup, start, split, phase
        self._episodes = self._stage_episodes = 0
        self._stage: Stage | None = None
        self._curve: list[dict[str, Any]] = []
        self.states: TrainState = init_population(
            start.weights,
            mesh=setup.mesh,
            model=setup.sampler.model,
            optimizer=setup.student.optimizer,
            size=setup.config.final.num_replicas,
        )
        self._validate("start", is_synthetic=True)

    def train(self, question_sets: QuestionSets, stage: Stage) -> None:
        """Trains one episode; an episode of the same stage continues the order of its questions.

        Raises:
          NotFiniteError: a loss or gradient is not finite.
        """
        if stage is not self._stage:
            self._stage, self._stage_episodes = stage, 0
        name = EpisodeName(stream="final", indices=(self._episodes,), earlier_episodes=self._stage_episodes)
        total = self._setup.config.final.num_steps
        with self._phase(f"training {self._start.name}, {self._steps} of {total} student steps"):
            episode = continue_population(
                self._setup, self.states, self._start.weights, question_sets=question_sets, name=name
            )
        self.states = episode.states
        self._episodes += 1
        self._stage_episodes += 1
        self._validate(stage.name, stage.is_synthetic)

    def students(self, written: tuple[Stage, ...] = ()) -> FinalStudents:
        """Returns the current replicas."""
        return FinalStudents(
            weights=self.states.weights,
            student_steps=self._steps,
            trained_steps=self._steps - self._start.student_steps,
            curve=self._curve,
            written=written,
        )

    @property
    def _steps(self) -> int:
        return self._start.student_steps + self._episodes * self._setup.config.inner.num_steps

    def _validate(self, stage: str, is_synthetic: bool) -> None:
        replicas = self._setup.config.final.num_replicas
        accuracy = validation_accuracy(self._setup, self.states.weights, self._split, replicas)
        row = {"student_steps": self._steps, "stage": stage, "is_synthetic": is_synthetic}
        self._curve.append(row | {"validation": accuracy.tolist()})


def train_through(
    setup: Setup, start: Start, stages: tuple[Stage, ...], split: HardSplit, phase: Phase
) -> FinalStudents:
    """Trains `final.num_replicas` copies of a policy on the stages, in order.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    trainer = FinalTrainer(setup, start, split=split, phase=phase)
    for stage in stages:
        for _ in range(stage.num_steps // setup.config.inner.num_steps):
            trainer.train((stage.questions,) * setup.config.final.num_replicas, stage)
    return trainer.students()
