"""Trains final students: replicas of one policy, along a line of student steps, validated and tested on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from soar_jax.config.run_config import RunConfig
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.evaluation.pass_at_k import summarize
from soar_jax.model.parameters import Params
from soar_jax.rl.indicators import means
from soar_jax.rl.population import init_population
from soar_jax.rl.schedules import learning_rates
from soar_jax.rl.train_step import TrainState
from soar_jax.soar import curricula
from soar_jax.soar.curricula import Stage
from soar_jax.soar.inner_loop import Episode, EpisodePlan, QuestionSets, continue_population
from soar_jax.soar.setup import Setup, validation_accuracy
from soar_jax.types import Phase

Tested = dict[str, dict[str, Any]]  # of each test: num_samples, ids, and num_correct [replicas, problems]


class TrainingSaver(Protocol):
    """Keeps the state of replicas in training, so that a later start continues them."""

    def save(self, states: TrainState, record: dict[str, Any]) -> None:
        """Saves states and a record in JSON, in place of earlier ones."""

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """Returns what was saved; None where nothing was."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the final evaluation lends to the training of final students."""

    phase: Phase
    # Tests replicas, weights with leaves [replicas, ...]. Nothing that is trained or chosen may depend on the result.
    test: Callable[[Params], Tested]
    saver: TrainingSaver | None = None  # None: training that is stopped begins anew


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalStudents:
    """What became of the replicas of one kind of final student."""

    student_steps: int  # of each replica, including those of the policy it started from
    trained_steps: int  # of each replica, without those
    curve: list[dict[str, Any]]  # one row at the start and one per episode
    rewards: np.ndarray  # [trained_steps] mean training reward of the replicas
    tests: dict[int, Tested]  # by student step; the last at `student_steps`
    written: tuple[Stage, ...] = ()  # self-play: questions of the first replica


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The policy that the replicas start from."""

    name: str  # of the kind of final student
    weights: Params  # of one policy; not donated
    student_steps: int = 0  # that the policy was trained for


class FinalTrainer:
    """Replicas in training; the optimiser state is kept from stage to stage.

    All kinds of final students use the same random keys, so that only their questions differ. Student steps count those
    behind the policy that the replicas start from: a promoted student continues the learning-rate schedule there.
    """

    def __init__(self, setup: Setup, start: Start, *, split: HardSplit, hooks: Hooks, warmup_steps: int) -> None:
        config = setup.config
        self._setup, self._start, self._split, self._hooks = setup, start, split, hooks
        self._last_step = last_step(config)
        self._learning_rates = learning_rates(config.student, config.final.num_steps, warmup_steps)
        self._steps, self._num_episodes = start.student_steps, 0
        self._saved_steps = 0  # an earlier start has made the episodes up to here
        self._curve: list[dict[str, Any]] = []
        self._rewards: list[float] = []
        self._tests: dict[int, Tested] = {}
        self.states: TrainState = init_population(
            start.weights,
            mesh=setup.mesh,
            model=setup.sampler.model,
            optimizer=setup.student.optimizer,
            size=config.final.num_replicas,
        )
        if not self._restore():
            self._add_row("start", is_synthetic=True, found={})

    def train(self, question_sets: QuestionSets, stage: Stage) -> None:
        """Trains on a stage's questions, of each replica, for its student steps; none beyond the last one reported.

        Raises:
          NotFiniteError: a loss or gradient is not finite.
        """
        first_step, first_episode = self._steps, self._num_episodes
        end = min(first_step + stage.num_steps, self._last_step)
        while self._steps < end:
            stop = next_cut(self._setup.config, self._split, student_steps=self._steps, end=end)
            plan = EpisodePlan(
                stream="final",
                indices=(self._num_episodes,),
                learning_rates=self._learning_rates[self._steps : stop],
                steps_before=self._steps - first_step,
                order_indices=(first_episode,),
            )
            is_made = stop <= self._saved_steps
            episode = None if is_made else self._train_episode(question_sets, plan)
            self._steps, self._num_episodes = stop, self._num_episodes + 1
            if episode is not None:
                self._record(stage, episode)

    def finish(self, written: tuple[Stage, ...] = ()) -> FinalStudents:
        """Tests the replicas at their last step, and returns what became of them."""
        if self._steps not in self._tests:
            self._test()
        return FinalStudents(
            student_steps=self._steps,
            trained_steps=self._steps - self._start.student_steps,
            curve=self._curve,
            rewards=np.array(self._rewards),
            tests=self._tests,
            written=written,
        )

    def _train_episode(self, question_sets: QuestionSets, plan: EpisodePlan) -> Episode:
        steps_before, accuracies = self._steps, self._curve[-1].get("validation")
        validated = f", validation {np.mean(accuracies):.2f}" if accuracies else ""

        def report(num_done: int, mean_reward: float) -> None:
            note = f"mean reward {mean_reward:.2f}{validated}"
            self._setup.show_progress("student steps", steps_before + num_done, self._last_step, note)

        with self._hooks.phase(f"training {self._start.name}"):
            self.states, episode = continue_population(
                self._setup,
                self.states,
                self._start.weights,
                question_sets=question_sets,
                plan=plan,
                report=report,
            )
        return episode

    def _record(self, stage: Stage, episode: Episode) -> None:
        """Adds an episode's row to the curve, and tests and saves the replicas where that is due."""
        self._rewards += episode.mean_rewards.mean(axis=1).tolist()
        found: dict[str, float | None] = {
            "mean_reward": float(episode.mean_rewards.mean()),
            "right_share": float(episode.right_shares.mean()),
        }
        self._add_row(stage.name, stage.is_synthetic, found | means(episode.indicators))
        test_every = self._setup.config.final.test_every
        if test_every and self._steps % test_every == 0:
            self._test()
            if self._steps < self._last_step:
                self._save()

    def _add_row(self, stage: str, is_synthetic: bool, found: dict[str, float | None]) -> None:
        """Adds a row to the curve, with the validation accuracy of each replica where there is a validation set."""
        row: dict[str, Any] = {"student_steps": self._steps, "stage": stage, "is_synthetic": is_synthetic}
        if self._split.validation:
            replicas = self._setup.config.final.num_replicas
            with self._hooks.phase(f"validating {self._start.name}"):
                accuracy = validation_accuracy(self._setup, self.states.weights, self._split, num_students=replicas)
            row["validation"] = accuracy.tolist()
        self._curve.append(row | found)

    def _test(self) -> None:
        """Tests the replicas, and adds the mean figures to the last row of the curve."""
        tested, ks = self._hooks.test(self.states.weights), self._setup.config.evaluation.pass_at
        self._tests[self._steps] = tested
        self._curve[-1]["tests"] = {
            name: summarize(np.array(values["num_correct"]), values["num_samples"], ks)
            | {"num_problems": len(values["ids"])}
            for name, values in tested.items()
        }

    def _save(self) -> None:
        if self._hooks.saver is not None:
            record = {
                "student_steps": self._steps,
                "curve": self._curve,
                "rewards": self._rewards,
                "tests": [*self._tests.items()],
            }
            self._hooks.saver.save(self.states, record)

    def _restore(self) -> bool:
        """Restores what an earlier start has saved; `train` then passes over the episodes that it has made."""
        found = self._hooks.saver.restore(self.states) if self._hooks.saver is not None else None
        if found is None:
            return False
        self.states, record = found
        self._saved_steps = record["student_steps"]
        self._curve, self._rewards, self._tests = record["curve"], record["rewards"], dict(record["tests"])
        return True


def last_step(config: RunConfig) -> int:
    """Student step at which final students end."""
    final = config.final
    return final.report_step if final.report_at == "step" else final.num_steps


def next_cut(config: RunConfig, split: HardSplit, *, student_steps: int, end: int) -> int:
    """Returns the step at which an episode from `student_steps` on ends: `end`, or a test or validation before it."""
    every = (config.final.test_every, config.final.validate_every if split.validation else 0)
    return min((end, *(student_steps - student_steps % count + count for count in every if count)))


def train_through(
    setup: Setup, start: Start, *, stages: tuple[Stage, ...], split: HardSplit, hooks: Hooks
) -> FinalStudents:
    """Trains `final.num_replicas` copies of a policy on the stages, in order.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    warmup_steps = curricula.warmup_steps(setup.config, stages)
    trainer = FinalTrainer(setup, start, split=split, hooks=hooks, warmup_steps=warmup_steps)
    for stage in stages:
        trainer.train((stage.questions,) * setup.config.final.num_replicas, stage)
    return trainer.finish()
