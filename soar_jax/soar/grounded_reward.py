"""The grounded reward: students train, and their improvement is measured (Algorithm 1, steps 3 to 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.rl.population import changed_shares, take_student
from soar_jax.rl.schedules import learning_rates
from soar_jax.rng import stream_generator, stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.inner_loop import (
    Episode,
    EpisodePlan,
    QuestionSets,
    QuestionStats,
    ReportStep,
    join_episodes,
    train_population,
)
from soar_jax.soar.promotion import StepOutcome, candidate_index
from soar_jax.soar.setup import Setup
from soar_jax.soar.shown_answers import pick_answers
from soar_jax.soar.state import Progress
from soar_jax.soar.teacher_rewards import dataset_rewards
from soar_jax.types import Phase


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardEval:
    """Accuracies on the reward questions, and the rewards R_k."""

    baseline: float
    students: np.ndarray  # [g, r]
    rewards: np.ndarray  # [g]
    standard_errors: np.ndarray  # [g] of the rewards, over the reward questions
    has_questions: np.ndarray  # [g] bool, whether a dataset has a well-formed question

    @property
    def best_dataset(self) -> int | None:
        """k*, the dataset with the largest reward of those that have questions; ties go to the first."""
        return int(np.argmax(np.where(self.has_questions, self.rewards, -np.inf))) if self.has_questions.any() else None

    @property
    def best_reward(self) -> float:
        """The reward of `best_dataset`; 0 without one."""
        return 0.0 if self.best_dataset is None else float(self.rewards[self.best_dataset])

    def outcome(self, step: int) -> StepOutcome:
        """What the promotion rule is given of an outer step."""
        return StepOutcome(
            outer_step=step,
            mean_reward=float(self.rewards.mean()),
            best_reward=self.best_reward,
            best_dataset=self.best_dataset,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedStudents:
    """Statistics of a step's trained students, and the weights of the one that may be promoted."""

    episode: Episode
    changed_shares: np.ndarray  # [P] share of the weights that training changed; NaN for students without a signal
    measured: RewardEval
    candidate: Params  # the best dataset's student that `promotion.student` names


class RewardEvaluator:
    """Measures students and the baseline student on fresh reward questions (Algorithm 1, steps 3 and 5).

    The baseline is evaluated as one more student of each wave, by the same program with the same random keys. So common
    noise cancels, and a student that training did not change has reward zero on every device.
    """

    def __init__(self, setup: Setup, split: HardSplit, step: int) -> None:
        """Draws a step's reward questions without replacement."""
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

    def evaluate(self, students: Params, baseline: Params, question_sets: QuestionSets) -> RewardEval:
        """Computes the rewards of whole datasets from their students.

        Args:
          students: weights with leaves [P, ...].
          baseline: weights of the baseline student.
          question_sets: [P] what each student was trained on.
        """
        outer = self._setup.config.outer
        counts = self._setup.evaluator.count_correct(
            students, self._problems, self._draw, num_students=len(question_sets), one_more=baseline
        )
        *students_solved, baseline_solved = counts / outer.reward_samples  # [Q] each
        solved = np.reshape(students_solved, (-1, outer.students_per_dataset, len(self._problems)))  # [g, r, Q]
        accuracy, baseline_accuracy = solved.mean(axis=2), float(baseline_solved.mean())
        return RewardEval(
            baseline=baseline_accuracy,
            students=accuracy,
            rewards=dataset_rewards(accuracy, baseline_accuracy),
            standard_errors=_standard_errors(solved.mean(axis=1) - baseline_solved),
            has_questions=np.array([bool(questions) for questions in question_sets[:: outer.students_per_dataset]]),
        )


def _standard_errors(gains: np.ndarray) -> np.ndarray:
    """Standard errors [g] of the mean gains over reward questions [g, Q]; 0 for a single question.

    They tell how the reward of the same students would vary with the reward questions and their answers.
    """
    num_questions = gains.shape[1]
    return gains.std(axis=1) / np.sqrt(max(1, num_questions - 1))


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
    evaluator = RewardEvaluator(setup, split, step)
    size = config.students_at_once
    shown = pick_answers(setup, question_sets, outer_step=step, num_steps=len(rates))
    plan = EpisodePlan(stream="inner", indices=(step,), learning_rates=rates, shown=shown)
    waves: list[_Wave] = []
    candidate, best_reward = baseline, -np.inf
    for first in range(0, len(question_sets), size):
        wave = question_sets[first : first + size]
        with phase("training students"):
            report = _report(setup, len(rates), num_before=len(waves), num_waves=ceil_div(len(question_sets), size))
            plan = dataclasses.replace(plan, first_student=first)
            states, episode = train_population(setup, baseline, wave, plan=plan, report=report)
            students = states.weights
            del states  # frees the optimisers, beside which measuring might not fit
        with phase("measuring improvement"):
            changed = _changed_shares(setup, students, baseline, has_signal=episode.has_signal)
            measured = evaluator.evaluate(students, baseline, wave)
            if measured.best_dataset is not None and measured.best_reward > best_reward:
                candidate = take_candidate(setup, students, measured, dataset=measured.best_dataset)
                best_reward = measured.best_reward
        waves.append(_Wave(episode=episode, changed_shares=changed, measured=measured))
        del students  # frees the wave
    return _joined(waves, candidate)


def _report(setup: Setup, num_steps: int, *, num_before: int, num_waves: int) -> ReportStep:
    """Makes the report of a wave's student steps, those of earlier waves before them."""

    def report(num_done: int, mean_reward: float) -> None:
        done = num_before * num_steps + num_done
        setup.show_progress("student steps", done, num_waves * num_steps, f"mean reward {mean_reward:.2f}")

    return report


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wave:
    """Statistics of a wave, fields as in `TrainedStudents`."""

    episode: Episode
    changed_shares: np.ndarray
    measured: RewardEval


def _changed_shares(setup: Setup, students: Params, baseline: Params, *, has_signal: np.ndarray) -> np.ndarray:
    """Share of the weights that an episode has changed [P]; NaN for students that had no signal."""
    shares = changed_shares(students, baseline, mesh=setup.mesh, model=setup.sampler.model)
    return np.where(has_signal.any(axis=0), processes.to_host(shares), np.nan)


def _joined(waves: Sequence[_Wave], candidate: Params) -> TrainedStudents:
    """Joins the waves of a step."""
    return TrainedStudents(
        episode=join_episodes([wave.episode for wave in waves]),
        changed_shares=np.concatenate([wave.changed_shares for wave in waves]),
        measured=RewardEval(
            baseline=waves[0].measured.baseline,
            students=np.concatenate([wave.measured.students for wave in waves]),
            rewards=np.concatenate([wave.measured.rewards for wave in waves]),
            standard_errors=np.concatenate([wave.measured.standard_errors for wave in waves]),
            has_questions=np.concatenate([wave.measured.has_questions for wave in waves]),
        ),
        candidate=candidate,
    )


def take_candidate(setup: Setup, students: Params, measured: RewardEval, *, dataset: int) -> Params:
    """Takes a dataset's student that may be promoted (Algorithm 1, step 6)."""
    replica = candidate_index(measured.students[dataset], setup.config.promotion)
    index = dataset * setup.config.outer.students_per_dataset + replica
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
