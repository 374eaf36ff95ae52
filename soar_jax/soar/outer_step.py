"""One outer step: Algorithm 1 of the paper (arXiv 2601.18778, section 3).

    Algorithm 1                                                       here
    1  sample g * n question-answer pairs from the teacher            teacher.sample_datasets
    2  cut them into datasets X_1 .. X_g of n                         teacher.cut
    3  draw reward questions Q_R from D_train                         grounded_reward.RewardEvaluator
    4  for k = 1 .. g, j = 1 .. r:                                    inner_loop.train_population
           train a copy S_kj of the baseline student on X_k by RL
    5  R_k = mean over j of accuracy(S_kj, Q_R)                       RewardEvaluator.evaluate,
             - accuracy(baseline, Q_R)                                teacher_rewards.dataset_rewards
    6  if the moving average of mean_k R_k exceeds tau:               promotion.decide, promote
           k* = argmax R_k; baseline = a student of X_k*
           D_best = D_best + X_k*
    7  update the teacher by RLOO over R_1 .. R_g                     teacher_rewards.rollout_advantages,
                                                                      teacher.teach

Departures from the paper:

- step 1: unparsable completions are penalised (`teacher.invalid_penalty`), not sampled again;
- step 4: the inner loop keeps its length after a promotion;
- step 6: the *best* student of X_k* is promoted, not the one with the median reward. `promotion.student` "window_best"
  takes the best of the window's steps instead of this step's.

Rewards computed without training students (`score_by_votes`) replace steps 3 to 6.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.soar import intrinsic_rewards, ledger, teacher
from soar_jax.soar.grounded_reward import TrainedStudents, solve_rates, train_students
from soar_jax.soar.promotion import StepOutcome, decide
from soar_jax.soar.setup import Setup, validation_accuracy
from soar_jax.soar.state import Progress, Promotion, RunArrays, StepResult
from soar_jax.soar.teacher import Datasets
from soar_jax.soar.teacher_rewards import question_advantages, rollout_advantages
from soar_jax.types import Phase


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """Rewards of a step's rollouts, and the state after steps 3 to 6."""

    arrays: RunArrays
    progress: Progress
    rewards: np.ndarray  # [g, n] of each rollout
    dataset_rewards: np.ndarray  # [g]
    advantages: np.ndarray  # [g, n] float32
    solve_rates: np.ndarray  # [g, n] fraction of answers that equal the teacher's; NaN if there are none
    metrics: dict[str, Any]


def outer_step(setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit, phase: Phase) -> StepResult:
    """Makes outer step `progress.outer_step`; `arrays.teacher` is donated.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    step = progress.outer_step
    tokens_before = setup.meter.num_tokens
    with phase("writing questions"):  # steps 1 and 2
        datasets = teacher.sample_datasets(setup, arrays.teacher.weights, step)
    if setup.config.trains_students:
        scored = score_by_improvement(setup, arrays, progress, split=split, datasets=datasets, phase=phase)
    else:
        scored = score_by_votes(setup, arrays, progress, datasets=datasets, phase=phase)
    with phase("updating the teacher"):  # step 7
        teacher_state, teacher_metrics = teacher.teach(
            setup, scored.arrays.teacher, datasets, advantages=scored.advantages, step=step
        )
    with phase("analysing questions"):
        rows = ledger.rows(setup, datasets, scored.rewards, solve_rates=scored.solve_rates, step=step)
        analysis = ledger.analyse(setup, rows)
    after = _advance(setup, progress, scored, num_tokens=setup.meter.num_tokens - tokens_before)
    metrics = _metrics(progress, after, scored) | {"valid_share": float(datasets.is_valid.mean())}
    return StepResult(
        arrays=dataclasses.replace(scored.arrays, teacher=teacher_state),
        progress=after,
        metrics=metrics | analysis | scored.metrics | teacher_metrics,
        ledger=rows,
    )


def score_by_improvement(
    setup: Setup, arrays: RunArrays, progress: Progress, *, split: HardSplit, datasets: Datasets, phase: Phase
) -> Scored:
    """Computes the grounded reward, and promotes a student if the promotion rule says so (paper, steps 3 to 6)."""
    config, is_valid = setup.config, datasets.is_valid
    repeats = config.outer.students_per_dataset
    trained = train_students(
        setup, arrays.baseline, datasets.question_sets(repeats), split=split, step=progress.outer_step, phase=phase
    )
    with phase("promoting"):
        arrays, progress, moving_average = promote(
            setup, arrays, progress, split=split, datasets=datasets, trained=trained
        )
    measured = trained.measured
    num_student_steps = progress.num_student_steps + config.num_students * config.inner.num_steps
    return Scored(
        arrays=arrays,
        progress=dataclasses.replace(progress, num_student_steps=num_student_steps),
        rewards=np.repeat(measured.rewards[:, None], is_valid.shape[1], axis=1),
        dataset_rewards=measured.rewards,
        advantages=rollout_advantages(measured.rewards, is_valid, config.teacher.invalid_penalty),
        solve_rates=solve_rates(trained.stats, is_valid, repeats),
        metrics={
            "baseline_accuracy": measured.baseline,
            "moving_average": moving_average,
            "inner_reward_first": float(trained.mean_rewards[0].mean()),
            "inner_reward_last": float(trained.mean_rewards[-1].mean()),
        },
    )


def score_by_votes(setup: Setup, arrays: RunArrays, progress: Progress, *, datasets: Datasets, phase: Phase) -> Scored:
    """Computes rewards from the baseline student's answers, without training students (paper: Intrinsic-T).

    The paper's Intrinsic-T is "absolute_zero" with 32 answers per question (`teacher.solver_samples`). Departure: it
    gives every rollout the mean reward of its dataset; here each rollout has its own reward.
    """
    with phase("answering questions"):
        values, agreement = intrinsic_rewards.question_rewards(setup, arrays.baseline, datasets, progress.outer_step)
    is_valid = datasets.is_valid
    return Scored(
        arrays=arrays,
        progress=progress,
        rewards=values,
        dataset_rewards=values.sum(axis=1) / np.maximum(1, is_valid.sum(axis=1)),  # mean over parsable rollouts
        advantages=question_advantages(values, is_valid, setup.config.teacher.invalid_penalty),
        solve_rates=agreement,
        metrics={},
    )


def promote(
    setup: Setup,
    arrays: RunArrays,
    progress: Progress,
    *,
    split: HardSplit,
    datasets: Datasets,
    trained: TrainedStudents,
) -> tuple[RunArrays, Progress, float]:
    """Applies the promotion rule to a step's students (paper, step 6); returns the moving average too."""
    step, measured = progress.outer_step, trained.measured
    outcome = StepOutcome(
        outer_step=step,
        mean_reward=float(measured.rewards.mean()),
        best_reward=float(measured.rewards.max()),
        best_dataset=measured.best_dataset,
    )
    decision = decide(progress.window, outcome, setup.config.promotion)
    # What may be promoted, oldest first, this step's last.
    outcomes, students = (*progress.window, outcome), (*arrays.window, trained.best)
    pairs = tuple((item.question, item.answer) for item in datasets.questions(measured.best_dataset))
    questions = (*progress.window_questions, pairs)
    arrays = dataclasses.replace(arrays, window=students[1:])
    if decision.promoted_step is None:
        kept = questions[max(0, len(questions) - len(arrays.window)) :]
        progress = dataclasses.replace(progress, window=decision.window, window_questions=kept)
        return arrays, progress, decision.moving_average
    index = decision.promoted_step - step - 1  # from the end
    promotion = Promotion(
        outer_step=step,
        source_step=outcomes[index].outer_step,
        dataset=outcomes[index].best_dataset,
        reward=outcomes[index].best_reward,
        validation_accuracy=float(validation_accuracy(setup, students[index], split)),
        questions=questions[index],
    )
    return *_make_baseline(arrays, progress, students[index], promotion), decision.moving_average


def _make_baseline(
    arrays: RunArrays, progress: Progress, student: Params, promotion: Promotion
) -> tuple[RunArrays, Progress]:
    """Makes a student the baseline, and the best promoted student unless an earlier one has a higher accuracy."""
    accuracy = promotion.validation_accuracy
    arrays = dataclasses.replace(arrays, baseline=student)
    progress = dataclasses.replace(
        progress,
        window=(),
        window_questions=(),
        promotions=(*progress.promotions, promotion),
        baseline_validation=accuracy,
    )
    if accuracy >= progress.best_validation:
        arrays = dataclasses.replace(arrays, best=student)
        progress = dataclasses.replace(progress, best_validation=accuracy, best_promotion=len(progress.promotions))
    return arrays, progress


def _advance(setup: Setup, before: Progress, scored: Scored, num_tokens: int) -> Progress:
    """Counts the step in the progress, and ends the search after the last step or at the goal."""
    config, num_steps = setup.config, before.outer_step + 1
    reached = scored.progress.baseline_validation >= config.outer.stop_at_validation
    return dataclasses.replace(
        scored.progress,
        outer_step=num_steps,
        num_idle_steps=before.num_idle_steps + (not scored.rewards.any()),
        num_sampled_tokens=before.num_sampled_tokens + num_tokens,
        finished=num_steps == config.num_outer_steps or reached,
    )


def _metrics(before: Progress, after: Progress, scored: Scored) -> dict[str, Any]:
    rewards = scored.dataset_rewards
    return {
        "outer_step": before.outer_step,
        "rewards": rewards.tolist(),
        "mean_reward": float(rewards.mean()),
        "best_reward": float(rewards.max()),
        "promoted": len(after.promotions) > len(before.promotions),
        "num_promotions": len(after.promotions),
        "validation_accuracy": after.baseline_validation,
        "any_reward": bool(scored.rewards.any()),
    }
