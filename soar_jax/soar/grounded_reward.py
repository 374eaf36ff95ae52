"""The grounded reward: students train, and their improvement is measured (Algorithm 1, steps 3 to 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.rl.population import take_student
from soar_jax.rl.schedules import learning_rates
from soar_jax.rng import stream_generator, stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.inner_loop import EpisodePlan, QuestionSets, QuestionStats, train_population
from soar_jax.soar.promotion import StepOutcome, candidate_index
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import Progress
from soar_jax.soar.teacher_rewards import dataset_rewards
from soar_jax.types import Phase


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardEval:
    """Accuracies on the reward questions, and the rewards R_k."""

    baseline: float
    students: np.ndarray  # [g, r]
    rewards: np.ndarray  # [g]

    @property
    def best_dataset(self) -> int:
        """k*, the dataset with the largest reward; ties go to the first."""
        return int(np.argmax(self.rewards))

    def outcome(self, step: int) -> StepOutcome:
        """What the promotion rule is given of an outer step."""
        return StepOutcome(
            outer_step=step,
            mean_reward=float(self.rewards.mean()),
            best_reward=float(self.rewards.max()),
            best_dataset=self.best_dataset,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedStudents:
    """Statistics of a step's trained students, and the weights of the one that may be promoted."""

    stats: QuestionStats
    mean_rewards: np.ndarray  # [inner steps, P] mean reward of the rollouts
    right_shares: np.ndarray  # [inner steps, P] share of the rollouts that are right
    measured: RewardEval
    candidate: Params  # the best dataset's student that `promotion.student` names

    @property
    def num_steps(self) -> int:
        """Student steps of each student."""
        return len(self.mean_rewards)


class RewardEvaluator:
    """Measures students and the baseline student on fresh reward questions (Algorithm 1, steps 3 and 5).

    Students and baseline use the same random keys, so that common noise cancels and a student that training did not
    change has reward zero (up to draws that differ by rounding).
    """

    def __init__(self, setup: Setup, baseline: Params, split: HardSplit, step: int) -> None:
        """Draws a step's reward questions without replacement, and evaluates the baseline student on them."""
        config, outer = setup.config, setup.config.outer
        rng = stream_generator(config.seed, "reward_questions", step)
        picks = rng.choice(len(split.train), outer.num_reward_questions, replace=False)
        self._setup = setup
        self._problems = [split.train[index] for index in picks]
        self._draw = Draw(
            key=stream_key(config.seed, "reward_sample", step),
            settings=setup.evaluation_sampling(outer.reward_temperature),
            num_samples=outer.reward_samples,
        )
        counts = setup.evaluator.count_correct(baseline, self._problems, self._draw)
        self._baseline = float(counts.mean() / outer.reward_samples)

    def evaluate(self, students: Params, num_students: int) -> RewardEval:
        """Computes the rewards of datasets from their students, weights with leaves [num_students, ...]."""
        outer = self._setup.config.outer
        counts = self._setup.evaluator.count_correct(students, self._problems, self._draw, num_students=num_students)
        accuracy = counts.mean(axis=1).reshape(-1, outer.students_per_dataset) / outer.reward_samples
        rewards = dataset_rewards(accuracy, self._baseline)
        return RewardEval(baseline=self._baseline, students=accuracy, rewards=rewards)


def train_students(
    setup: Setup, baseline: Params, question_sets: QuestionSets, *, split: HardSplit, progress: Progress, phase: Phase
) -> TrainedStudents:
    """Trains and measures copies of the baseline student in outer step `progress.outer_step` (steps 3 to 5).

    Episodes become longer with the promotions so far (paper, B.7). Students are trained in waves of
    `inner.students_at_once`. A wave has whole datasets, and is freed before the next one starts, except for the
    candidate of the best dataset so far.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    config, step = setup.config, progress.outer_step
    rates = learning_rates(config.student, config.episode_steps(len(progress.promotions)), config.student.warmup_steps)
    with phase("measuring improvement"):
        evaluator = RewardEvaluator(setup, baseline, split=split, step=step)
    size = config.students_at_once
    waves = []
    candidate, best_reward = baseline, -np.inf
    for first in range(0, len(question_sets), size):
        wave = question_sets[first : first + size]
        with phase("training students"):
            plan = EpisodePlan(stream="inner", indices=(step,), learning_rates=rates, first_student=first)
            episode = train_population(setup, baseline, wave, plan)
        with phase("measuring improvement"):
            measured = evaluator.evaluate(episode.states.weights, len(wave))
            if measured.rewards.max() > best_reward:
                candidate, best_reward = take_candidate(setup, episode.states.weights, measured), measured.rewards.max()
        waves.append(
            _Wave(
                stats=episode.stats,
                mean_rewards=episode.mean_rewards,
                right_shares=episode.right_shares,
                measured=measured,
            )
        )
        del episode  # frees the wave's students
    return _joined(waves, candidate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wave:
    """Statistics of a wave, fields as in `TrainedStudents`."""

    stats: QuestionStats
    mean_rewards: np.ndarray
    right_shares: np.ndarray
    measured: RewardEval


def _joined(waves: Sequence[_Wave], candidate: Params) -> TrainedStudents:
    """Joins the waves of a step."""
    return TrainedStudents(
        stats=QuestionStats(
            asked=[asked for wave in waves for asked in wave.stats.asked],
            agreed=[agreed for wave in waves for agreed in wave.stats.agreed],
        ),
        mean_rewards=np.concatenate([wave.mean_rewards for wave in waves], axis=1),
        right_shares=np.concatenate([wave.right_shares for wave in waves], axis=1),
        measured=RewardEval(
            baseline=waves[0].measured.baseline,
            students=np.concatenate([wave.measured.students for wave in waves]),
            rewards=np.concatenate([wave.measured.rewards for wave in waves]),
        ),
        candidate=candidate,
    )


def take_candidate(setup: Setup, students: Params, measured: RewardEval) -> Params:
    """Takes the best dataset's student that may be promoted (Algorithm 1, step 6)."""
    replica = candidate_index(measured.students[measured.best_dataset], setup.config.promotion)
    index = measured.best_dataset * setup.config.outer.students_per_dataset + replica
    return take_student(students, index, mesh=setup.mesh, model=setup.sampler.model)


def solve_rates(stats: QuestionStats, is_valid: np.ndarray, repeats: int) -> np.ndarray:
    """Computes each question's fraction of right answers [g, n], over the `repeats` students of its dataset.

    Right is what equals the teacher's answer. NaN if a question was never asked.
    """
    rates = np.full(is_valid.shape, np.nan)
    for dataset, valid in enumerate(is_valid):
        members = range(dataset * repeats, (dataset + 1) * repeats)
        asked = np.sum([stats.asked[member] for member in members], axis=0)
        agreed = np.sum([stats.agreed[member] for member in members], axis=0)
        if valid.any():
            rates[dataset, valid] = np.where(asked > 0, agreed / np.maximum(asked, 1), np.nan)
    return rates
