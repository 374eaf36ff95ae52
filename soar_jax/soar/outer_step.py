"""One outer step: the teacher writes, students train, improvement is measured, the teacher learns."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import jax
import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.parallel import mesh as parallel
from soar_jax.reporting.display import Phase
from soar_jax.rl.population import update_policy
from soar_jax.rl.train_step import TrainState
from soar_jax.rng import stream_generator, stream_key
from soar_jax.soar import ledger, promotion, rewards, teacher
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import Progress, Promotion, RunArrays
from soar_jax.soar.student import Episode, NotFiniteError, train_population
from soar_jax.types import TrainBatch


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
class StepResult:
    """What an outer step leaves."""

    arrays: RunArrays
    progress: Progress
    metrics: dict[str, Any]  # one row of metrics.jsonl
    ledger: list[dict[str, Any]]  # one row a question
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
    """The best dataset's best student, a copy on every device."""
    replica = int(np.argmax(measured.students[measured.best_dataset]))
    index = measured.best_dataset * setup.config.outer.students_per_dataset + replica
    return parallel.replicate(setup.mesh, jax.tree.map(lambda leaf: leaf[index], students))


def teach(
    setup: Setup, state: TrainState, datasets: teacher.Datasets, measured: Measured, step: int
) -> tuple[TrainState, dict[str, float]]:
    """The teacher's RLOO update over dataset rewards (paper: step 6).

    Raises:
      NotFiniteError: its loss or gradient norm is not finite.
    """
    if not setup.config.teacher.train:
        return state, {}
    advantages = rewards.rollout_advantages(measured.rewards, datasets.is_valid, setup.config.teacher.invalid_penalty)
    batch = TrainBatch(datasets.rollouts, advantages.reshape(-1))
    batch = parallel.replicate(setup.mesh, batch)
    for _ in range(setup.teacher.updates_per_batch):
        state, metrics = update_policy(
            state,
            batch,
            setup.base.params if setup.teacher.loss.kl_coef > 0 else None,
            model=setup.base.config,
            loss=setup.teacher.loss,
            optimizer=setup.teacher.optimizer,
            rows_per_micro_batch=setup.teacher.rows_per_micro_batch,
        )
    values = {f"teacher_{name}": float(value) for name, value in metrics.items()}
    if not all(np.isfinite(value) for value in values.values()):
        raise NotFiniteError(
            f"the teacher's loss or gradient is not finite at outer step {step}: {values}. Start anew in another "
            "--workdir with a lower teacher.learning_rate or a higher teacher.adam_eps"
        )
    return state, values


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
    step = progress.outer_step
    tokens_before = setup.sampler.meter.num_tokens
    with phase("writing questions"):
        datasets = teacher.write_questions(setup, arrays.teacher.params, step)
    with phase("training students"):
        episode = train_population(setup, arrays.baseline, teacher.curriculum(setup, datasets), "inner", (step,))
    with phase("measuring improvement"):
        measured = measure(setup, arrays.baseline, episode.states.params, split, step)
    with phase("promoting"):
        arrays, progress, decision, promoted = _promote(setup, arrays, progress, split, datasets, episode, measured)
    with phase("updating the teacher"):
        teacher_state, teacher_metrics = teach(setup, arrays.teacher, datasets, measured, step)
    moved = bool(np.any(measured.rewards != 0))
    progress = dataclasses.replace(
        progress,
        outer_step=step + 1,
        num_idle_steps=progress.num_idle_steps + (not moved),
        num_sampled_tokens=progress.num_sampled_tokens + setup.sampler.meter.num_tokens - tokens_before,
        finished=step + 1 == setup.config.num_outer_steps
        or progress.baseline_validation >= setup.config.outer.stop_at_validation,
    )
    rows = ledger.rows(setup, datasets, episode, measured.rewards, step)
    metrics = {
        "outer_step": step,
        "rewards": measured.rewards.tolist(),
        "mean_reward": float(measured.rewards.mean()),
        "best_reward": float(measured.rewards.max()),
        "baseline_accuracy": measured.baseline,
        "moving_average": decision.moving_average,
        "promoted": promoted is not None,
        "num_promotions": len(progress.promotions),
        "validation_accuracy": progress.baseline_validation,
        "any_reward": moved,
        "valid_share": float(datasets.is_valid.mean()),
        "subjects": dict(Counter(row["subject"] for row in rows if row["subject"])),
        "inner_reward_first": float(episode.mean_rewards[0].mean()),
        "inner_reward_last": float(episode.mean_rewards[-1].mean()),
        **teacher_metrics,
    }
    return StepResult(dataclasses.replace(arrays, teacher=teacher_state), progress, metrics, rows, promoted)


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
    best = best_student(setup, episode.states.params, measured)
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
