"""One outer step: the teacher writes, students train, improvement is measured, the teacher learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.reporting.display import Phase
from soar_jax.rl.population import take_student
from soar_jax.rng import stream_generator, stream_key
from soar_jax.soar import intrinsic, ledger, promotion, rewards, teacher
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import Progress, Promotion, RunArrays, StepResult
from soar_jax.soar.student import Episode, train_population


@dataclasses.dataclass(frozen=True)
class Measured:
    """Accuracies on the reward questions."""

    baseline: float
    students: np.ndarray  # [g, r]
    rewards: np.ndarray  # [g]

    @property
    def best_dataset(self) -> int:
        """The dataset with the largest reward."""
        return int(np.argmax(self.rewards))


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a step's questions earned, and what that changed."""

    arrays: RunArrays
    progress: Progress
    rewards: np.ndarray  # [g, n] of each rollout
    advantages: np.ndarray  # [g, n] float32
    solve_rates: np.ndarray  # [g, n] share of answers that agreed with the teacher's; nan where never asked
    metrics: dict[str, Any]
    promoted: Promotion | None


def measure(setup: Setup, baseline: Params, students: Params, split: HardSplit, step: int) -> Measured:
    """The grounded reward: each student's accuracy on fresh reward questions against the baseline's (paper: 3, 5)."""
    config = setup.config
    outer = config.outer
    picks = stream_generator(config.seed, "reward_questions", step).choice(
        len(split.train), outer.num_reward_questions, replace=False
    )
    problems = [split.train[index] for index in picks]
    key = stream_key(config.seed, "reward_sample", step)
    settings = setup.evaluation_sampling(outer.reward_temperature)
    samples = outer.reward_samples
    # Students and baseline make the same draws, so noise common to both cancels and a student that
    # training did not move has reward zero (up to draws that differ by rounding).
    student_counts = setup.examiner.count_correct_population(
        students, setup.population, problems, key, settings, samples
    )
    baseline_counts = setup.examiner.count_correct(baseline, problems, key, settings, samples)
    baseline_share = float(baseline_counts.mean() / samples)
    accuracy = student_counts.mean(axis=1).reshape(outer.num_datasets, outer.students_per_dataset) / samples
    return Measured(baseline_share, accuracy, rewards.dataset_rewards(accuracy, baseline_share))


def best_student(setup: Setup, students: Params, measured: Measured) -> Params:
    """The best dataset's best student."""
    replica = int(np.argmax(measured.students[measured.best_dataset]))
    index = measured.best_dataset * setup.config.outer.students_per_dataset + replica
    return take_student(students, index, mesh=setup.mesh, model=setup.sampler.model)


def validation_accuracy(setup: Setup, policy: Params, split: HardSplit) -> float:
    """Mean share of right answers to the validation problems."""
    evaluation = setup.config.evaluation
    samples = evaluation.validation_samples
    settings = setup.evaluation_sampling(evaluation.temperature, evaluation.top_p)
    key = stream_key(setup.config.seed, "validation")
    counts = setup.examiner.count_correct(policy, split.validation, key, settings, samples)
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
        teacher_state, teacher_metrics = teacher.teach(setup, scored.arrays.teacher, datasets, scored.advantages, step)
    with phase("analysing questions"):
        rows = ledger.rows(setup, datasets, scored.rewards, scored.solve_rates, step)
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
    per_dataset = scored.rewards.mean(axis=1)
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
    return StepResult(arrays, progress, metrics, rows, scored.promoted)


def _score_by_improvement(
    setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit, datasets: teacher.Datasets, phase: Phase
) -> Scored:
    """The grounded reward: students are trained and measured, and one of them may be promoted (paper: 3 to 6)."""
    config, step = setup.config, progress.outer_step
    with phase("training students"):
        episode = train_population(setup, arrays.baseline, teacher.curriculum(setup, datasets), "inner", (step,))
    with phase("measuring improvement"):
        measured = measure(setup, arrays.baseline, episode.states.weights, split, step)
    with phase("promoting"):
        arrays, progress, decision, promoted = _promote(setup, arrays, progress, split, datasets, episode, measured)
    is_valid = datasets.is_valid
    return Scored(
        arrays,
        dataclasses.replace(
            progress, num_student_steps=progress.num_student_steps + setup.population * config.inner.num_steps
        ),
        np.repeat(measured.rewards[:, None], is_valid.shape[1], axis=1),
        rewards.rollout_advantages(measured.rewards, is_valid, config.teacher.invalid_penalty),
        _solve_rates(setup, episode, is_valid),
        {
            "baseline_accuracy": measured.baseline,
            "moving_average": decision.moving_average,
            "inner_reward_first": float(episode.mean_rewards[0].mean()),
            "inner_reward_last": float(episode.mean_rewards[-1].mean()),
        },
        promoted,
    )


def _score_by_votes(
    setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit, datasets: teacher.Datasets, phase: Phase
) -> Scored:
    """An intrinsic reward: the baseline student answers, nobody is trained (paper: Intrinsic-T)."""
    with phase("answering questions"):
        values, agreement = intrinsic.question_rewards(setup, arrays.baseline, datasets, progress.outer_step)
    advantages = rewards.question_advantages(values, datasets.is_valid, setup.config.teacher.invalid_penalty)
    return Scored(arrays, progress, values, advantages, agreement, {}, None)


def _solve_rates(setup: Setup, episode: Episode, is_valid: np.ndarray) -> np.ndarray:
    """Share of student samples [g, n] that agreed with the teacher's answer, over a dataset's r students."""
    repeats = setup.config.outer.students_per_dataset
    rates = np.full(is_valid.shape, np.nan)
    for dataset, valid in enumerate(is_valid):
        members = range(dataset * repeats, (dataset + 1) * repeats)
        asked = np.sum([episode.stats.asked[member] for member in members], axis=0)
        agreed = np.sum([episode.stats.agreed[member] for member in members], axis=0)
        if valid.any():
            rates[dataset, valid] = np.where(asked > 0, agreed / np.maximum(asked, 1), np.nan)
    return rates


def _promote(
    setup: Setup,
    arrays: RunArrays,
    progress: Progress,
    split: HardSplit,
    datasets: teacher.Datasets,
    episode: Episode,
    measured: Measured,
) -> tuple[RunArrays, Progress, promotion.Decision, Promotion | None]:
    step = progress.outer_step
    outcome = promotion.StepOutcome(
        step, float(measured.rewards.mean()), float(measured.rewards.max()), measured.best_dataset
    )
    decision = promotion.decide(progress.window, outcome, setup.promotion)
    size = len(arrays.window)
    best = best_student(setup, episode.states.weights, measured)
    students = (*arrays.window, best)[-size:]
    best_items = tuple(
        (item.question, item.answer) for item in datasets.items[measured.best_dataset] if item is not None
    )
    questions = (*progress.window_questions, best_items)[-size:]
    arrays = dataclasses.replace(arrays, window=students)
    if decision.promoted_step is None:
        return arrays, dataclasses.replace(progress, window=decision.window, window_questions=questions), decision, None

    back = step - decision.promoted_step  # outer steps since the promoted student was trained
    source = outcome if back == 0 else progress.window[-back]
    baseline = students[-1 - back]
    accuracy = validation_accuracy(setup, baseline, split)
    promoted = Promotion(
        step, source.outer_step, source.best_dataset, source.best_reward, accuracy, questions[-1 - back]
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
