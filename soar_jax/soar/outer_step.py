"""One outer step: the teacher writes, students train, improvement is measured, the teacher learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.rl.population import take_student
from soar_jax.rng import stream_generator, stream_key
from soar_jax.runs.build import Setup
from soar_jax.runs.display import Phase
from soar_jax.soar import intrinsic_rewards, ledger, promotion, rewards, teacher
from soar_jax.soar.inner_loop import Curriculum, QuestionStats, train_population
from soar_jax.soar.state import Progress, Promotion, RunArrays, StepResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracies on the reward questions."""

    baseline: float
    students: np.ndarray  # [g, r]
    rewards: np.ndarray  # [g]

    @property
    def best_dataset(self) -> int:
        """The dataset with the largest reward."""
        return int(np.argmax(self.rewards))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A step's students, trained and measured; of their weights only the best student's are kept."""

    stats: QuestionStats
    mean_rewards: np.ndarray  # [inner steps, P] share of samples that earned the reward
    measured: Measured
    best: Params  # the best dataset's best student


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """What a step's questions earned, and what that changed."""

    arrays: RunArrays
    progress: Progress
    rewards: np.ndarray  # [g, n] of each rollout
    dataset_rewards: np.ndarray  # [g]
    advantages: np.ndarray  # [g, n] float32
    solve_rates: np.ndarray  # [g, n] share of answers that agreed with the teacher's; nan where never asked
    metrics: dict[str, Any]
    promoted: Promotion | None


class Measurer:
    """The grounded reward: students' accuracy on fresh reward questions against the baseline's (paper: 3, 5).

    Students and baseline make the same draws, so noise common to both cancels and a student that training did not
    move has reward zero (up to draws that differ by rounding).
    """

    def __init__(self, setup: Setup, baseline: Params, split: HardSplit, step: int) -> None:
        """Draws a step's reward questions and asks the baseline student."""
        config = setup.config
        outer = config.outer
        picks = stream_generator(config.seed, "reward_questions", step).choice(
            len(split.train), outer.num_reward_questions, replace=False
        )
        self._setup = setup
        self._problems = [split.train[index] for index in picks]
        self._draw = (
            stream_key(config.seed, "reward_sample", step),
            setup.evaluation_sampling(outer.reward_temperature),
            outer.reward_samples,
        )
        counts = setup.evaluator.count_correct(baseline, self._problems, *self._draw)
        self._baseline = float(counts.mean() / outer.reward_samples)

    def measure(self, students: Params, num_students: int) -> Measured:
        """Measures students of whole datasets: leaves [num_students, ...]."""
        outer = self._setup.config.outer
        counts = self._setup.evaluator.count_correct_population(students, num_students, self._problems, *self._draw)
        accuracy = counts.mean(axis=1).reshape(-1, outer.students_per_dataset) / outer.reward_samples
        return Measured(
            baseline=self._baseline, students=accuracy, rewards=rewards.dataset_rewards(accuracy, self._baseline)
        )


def best_student(setup: Setup, students: Params, measured: Measured) -> Params:
    """The best dataset's best student."""
    replica = int(np.argmax(measured.students[measured.best_dataset]))
    index = measured.best_dataset * setup.config.outer.students_per_dataset + replica
    return take_student(students, index, mesh=setup.mesh, model=setup.sampler.model)


def train_students(
    setup: Setup, baseline: Params, curriculum: Curriculum, split: HardSplit, step: int, phase: Phase
) -> Trained:
    """Trains and measures copies of the baseline student, `inner.students_at_once` of them at a time.

    A wave's students are given up before the next wave is made, but for the best so far.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    with phase("measuring improvement"):
        measurer = Measurer(setup, baseline, split=split, step=step)
    size = setup.students_at_once
    waves = [
        (first, Curriculum(questions=curriculum.questions[first : first + size]))
        for first in range(0, len(curriculum.questions), size)
    ]
    trained: Trained | None = None
    for first, wave in waves:
        trained = _train_wave(
            setup, baseline, wave=wave, first=first, measurer=measurer, step=step, before=trained, phase=phase
        )
    assert trained is not None
    return trained


def _train_wave(
    setup: Setup,
    baseline: Params,
    wave: Curriculum,
    first: int,
    measurer: Measurer,
    step: int,
    before: Trained | None,
    phase: Phase,
) -> Trained:
    """Adds a wave's students to those `before`."""
    with phase("training students"):
        episode = train_population(
            setup, baseline, curriculum=wave, stream="inner", indices=(step,), first_student=first
        )
    with phase("measuring improvement"):
        measured = measurer.measure(episode.states.weights, len(wave.questions))
        if before is None:
            best = best_student(setup, episode.states.weights, measured)
            return Trained(stats=episode.stats, mean_rewards=episode.mean_rewards, measured=measured, best=best)
        is_better = measured.rewards.max() > before.measured.rewards.max()
        return Trained(
            stats=QuestionStats(
                asked=before.stats.asked + episode.stats.asked, agreed=before.stats.agreed + episode.stats.agreed
            ),
            mean_rewards=np.concatenate([before.mean_rewards, episode.mean_rewards], axis=1),
            measured=Measured(
                baseline=measured.baseline,
                students=np.concatenate([before.measured.students, measured.students]),
                rewards=np.concatenate([before.measured.rewards, measured.rewards]),
            ),
            best=best_student(setup, episode.states.weights, measured) if is_better else before.best,
        )


def validation_accuracy(setup: Setup, policy: Params, split: HardSplit) -> float:
    """Mean share of right answers to the validation problems."""
    evaluation = setup.config.evaluation
    samples = evaluation.validation_samples
    settings = setup.evaluation_sampling(evaluation.temperature, evaluation.top_p)
    key = stream_key(setup.config.seed, "validation")
    counts = setup.evaluator.count_correct(
        policy, split.validation, key=key, settings=settings, samples_per_problem=samples
    )
    return float(counts.mean() / samples)


def outer_step(setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit, phase: Phase) -> StepResult:
    """Makes outer step `progress.outer_step`; `arrays.teacher` is used up.

    Args:
      phase: called with a phase's name, gives a context that the phase runs in (timing, display).

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    step, config = progress.outer_step, setup.config
    tokens_before = setup.sampler.meter.num_tokens
    with phase("writing questions"):
        datasets = teacher.write_questions(setup, arrays.teacher.weights, step)
    score = _score_by_improvement if config.teacher.reward == "grounded" else _score_by_votes
    scored = score(setup, arrays, progress, split, datasets, phase)
    with phase("updating the teacher"):
        teacher_state, teacher_metrics = teacher.teach(
            setup, scored.arrays.teacher, datasets=datasets, advantages=scored.advantages, step=step
        )
    with phase("analysing questions"):
        rows = ledger.rows(setup, datasets, rewards=scored.rewards, solve_rates=scored.solve_rates, step=step)
        analysis = ledger.analyse(setup, rows)
    moved = bool(np.any(scored.rewards != 0))
    progress = dataclasses.replace(
        scored.progress,
        outer_step=step + 1,
        num_idle_steps=progress.num_idle_steps + (not moved),
        num_sampled_tokens=progress.num_sampled_tokens + setup.sampler.meter.num_tokens - tokens_before,
        finished=step + 1 == config.num_outer_steps
        or scored.progress.baseline_validation >= config.outer.stop_at_validation,
    )
    per_dataset = scored.dataset_rewards
    metrics = {
        "outer_step": step,
        "rewards": per_dataset.tolist(),
        "mean_reward": float(per_dataset.mean()),
        "best_reward": float(per_dataset.max()),
        "promoted": scored.promoted is not None,
        "num_promotions": len(progress.promotions),
        "validation_accuracy": progress.baseline_validation,
        "any_reward": moved,
        "valid_share": float(datasets.is_valid.mean()),
        **analysis,
        **scored.metrics,
        **teacher_metrics,
    }
    arrays = dataclasses.replace(scored.arrays, teacher=teacher_state)
    return StepResult(arrays=arrays, progress=progress, metrics=metrics, ledger=rows)


def _score_by_improvement(
    setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit, datasets: teacher.Datasets, phase: Phase
) -> Scored:
    """The grounded reward: students are trained and measured, and one of them may be promoted (paper: 3 to 6)."""
    config, step = setup.config, progress.outer_step
    trained = train_students(
        setup, arrays.baseline, curriculum=teacher.curriculum(setup, datasets), split=split, step=step, phase=phase
    )
    with phase("promoting"):
        arrays, progress, decision, promoted = _promote(
            setup, arrays, progress=progress, split=split, datasets=datasets, trained=trained
        )
    measured = trained.measured
    is_valid = datasets.is_valid
    return Scored(
        arrays=arrays,
        progress=dataclasses.replace(
            progress, num_student_steps=progress.num_student_steps + setup.population * config.inner.num_steps
        ),
        rewards=np.repeat(measured.rewards[:, None], is_valid.shape[1], axis=1),
        dataset_rewards=measured.rewards,
        advantages=rewards.rollout_advantages(measured.rewards, is_valid, config.teacher.invalid_penalty),
        solve_rates=_solve_rates(setup, trained.stats, is_valid),
        metrics={
            "baseline_accuracy": measured.baseline,
            "moving_average": decision.moving_average,
            "inner_reward_first": float(trained.mean_rewards[0].mean()),
            "inner_reward_last": float(trained.mean_rewards[-1].mean()),
        },
        promoted=promoted,
    )


def _score_by_votes(
    setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit, datasets: teacher.Datasets, phase: Phase
) -> Scored:
    """An intrinsic reward: the baseline student answers, nobody is trained (paper: Intrinsic-T)."""
    with phase("answering questions"):
        values, agreement = intrinsic_rewards.question_rewards(
            setup, arrays.baseline, datasets=datasets, step=progress.outer_step
        )
    is_valid = datasets.is_valid
    advantages = rewards.question_advantages(values, is_valid, setup.config.teacher.invalid_penalty)
    means = values.sum(axis=1) / np.maximum(1, is_valid.sum(axis=1))  # of what could be parsed; the rest is zero
    return Scored(
        arrays=arrays,
        progress=progress,
        rewards=values,
        dataset_rewards=means,
        advantages=advantages,
        solve_rates=agreement,
        metrics={},
        promoted=None,
    )


def _solve_rates(setup: Setup, stats: QuestionStats, is_valid: np.ndarray) -> np.ndarray:
    """Share of student samples [g, n] that agreed with the teacher's answer, over a dataset's r students."""
    repeats = setup.config.outer.students_per_dataset
    rates = np.full(is_valid.shape, np.nan)
    for dataset, valid in enumerate(is_valid):
        members = range(dataset * repeats, (dataset + 1) * repeats)
        asked = np.sum([stats.asked[member] for member in members], axis=0)
        agreed = np.sum([stats.agreed[member] for member in members], axis=0)
        if valid.any():
            rates[dataset, valid] = np.where(asked > 0, agreed / np.maximum(asked, 1), np.nan)
    return rates


def _promote(
    setup: Setup,
    arrays: RunArrays,
    progress: Progress,
    split: HardSplit,
    datasets: teacher.Datasets,
    trained: Trained,
) -> tuple[RunArrays, Progress, promotion.Decision, Promotion | None]:
    step, measured = progress.outer_step, trained.measured
    outcome = promotion.StepOutcome(
        outer_step=step,
        mean_reward=float(measured.rewards.mean()),
        best_reward=float(measured.rewards.max()),
        best_dataset=measured.best_dataset,
    )
    decision = promotion.decide(progress.window, outcome, setup.promotion)
    students = (*arrays.window, trained.best)
    best_items = tuple(
        (item.question, item.answer) for item in datasets.items[measured.best_dataset] if item is not None
    )
    questions = (*progress.window_questions, best_items)
    arrays = dataclasses.replace(arrays, window=students[1:])
    if decision.promoted_step is None:
        kept = questions[max(0, len(questions) - len(arrays.window)) :]
        return arrays, dataclasses.replace(progress, window=decision.window, window_questions=kept), decision, None

    back = step - decision.promoted_step  # outer steps since the promoted student was trained
    source = outcome if back == 0 else progress.window[-back]
    baseline = students[-1 - back]
    accuracy = validation_accuracy(setup, baseline, split)
    promoted = Promotion(
        outer_step=step,
        source_step=source.outer_step,
        dataset=source.best_dataset,
        reward=source.best_reward,
        validation_accuracy=accuracy,
        questions=questions[-1 - back],
    )
    progress = dataclasses.replace(
        progress,
        window=(),
        window_questions=(),
        promotions=(*progress.promotions, promoted),
        baseline_validation=accuracy,
    )
    arrays = dataclasses.replace(arrays, baseline=baseline)
    if accuracy >= progress.best_validation:
        arrays = dataclasses.replace(arrays, best=baseline)
        progress = dataclasses.replace(progress, best_validation=accuracy, best_promotion=len(progress.promotions))
    return arrays, progress, decision, promoted
