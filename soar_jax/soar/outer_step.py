"""One outer step: Algorithm 1 of the paper (arXiv 2601.18778, B.3), whose four parts are seven steps here.

    Algorithm 1                                                       here
    1  sample g * n question-answer pairs from the teacher            teacher.sample_datasets
    2  cut them into datasets X_1 .. X_g of n                         teacher.cut
    3  draw reward questions Q_R from D_train                         grounded_reward.RewardEvaluator
    4  for k = 1 .. g, j = 1 .. r:                                    grounded_reward.train_students,
           train a copy S_kj of the baseline student on X_k by RL,    inner_loop.train_population
           for more steps after each promotion                        RunConfig.episode_steps
    5  R_k = mean over j of accuracy(S_kj, Q_R)                       RewardEvaluator.evaluate,
             - accuracy(baseline, Q_R)                                teacher_rewards.dataset_rewards
    6  if the moving average of mean_k R_k exceeds tau:               promotion.decide, promote
           k* = argmax R_k                                            RewardEval.best_dataset
           baseline = the student of X_k* with the median reward      promotion.candidate_index
           D_best = D_best + X_k*                                     Progress.promotions
    7  update the teacher by RLOO over R_1 .. R_g                     teacher_rewards.rollout_advantages,
                                                                      teacher.teach

The defaults of the config follow the paper. Departures are other values, above all:

- step 1: `teacher.malformed` "penalise" keeps completions that are not well formed and penalises them; the default
  samples until all are well formed;
- step 4: `inner.steps_per_promotion` 0 keeps the inner loop's length;
- step 5: `outer.reward_temperature` above 0 samples the answers to reward questions, which are greedy by default;
- step 6: `promotion.student` "step_best" promotes the best student of X_k*, and "window_best" the best one of the
  window's steps; `promotion.rule` "never" promotes nobody; `promotion.statistic` "best" and
  `promotion.needs_step_reward` change the condition;
- of several promoted students, one is tested and trained on: with `hard_subset.validation_share` the best on a
  validation set of its own, by default the best on D_train (paper, section 4).

Rewards computed without training students (`score_by_votes`) replace steps 3 to 6.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from soar_jax.errors import SettingsError
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.rl.indicators import mean, means
from soar_jax.soar import ledger, teacher
from soar_jax.soar.grounded_reward import TrainedStudents, solve_rates, train_students
from soar_jax.soar.promotion import decide
from soar_jax.soar.reference_kl import subtract_teachers_kl
from soar_jax.soar.setup import Setup, selection_accuracy
from soar_jax.soar.state import Progress, Promotion, RunArrays, StepResult
from soar_jax.soar.teacher import Datasets
from soar_jax.soar.teacher_rewards import question_advantages, rewards_by_votes, rollout_advantages
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
    completions: list[dict[str, Any]]  # rows of the students' answers that are shown


def outer_step(setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit, phase: Phase) -> StepResult:
    """Makes outer step `progress.outer_step`; `arrays.teacher` is donated.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    step, meter = progress.outer_step, setup.meter
    tokens_before, flops_before = meter.num_tokens, meter.num_flops
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
    spent = {"num_tokens": meter.num_tokens - tokens_before, "num_flops": meter.num_flops - flops_before}
    after = _advance(setup, progress, scored, **spent)
    metrics = _metrics(progress, after, scored) | {"valid_share": datasets.valid_share}
    metrics |= means(datasets.completions.indicators(), "teacher_")
    return StepResult(
        arrays=dataclasses.replace(scored.arrays, teacher=teacher_state),
        progress=after,
        metrics=metrics | analysis | scored.metrics | teacher_metrics,
        ledger=rows,
        completions=scored.completions,
    )


def score_by_improvement(
    setup: Setup, arrays: RunArrays, progress: Progress, *, split: HardSplit, datasets: Datasets, phase: Phase
) -> Scored:
    """Computes the grounded reward, and promotes a student if the promotion rule says so (steps 3 to 6)."""
    config, is_valid = setup.config, datasets.is_valid
    repeats = config.outer.students_per_dataset
    question_sets = datasets.question_sets(repeats)
    trained = train_students(setup, arrays.baseline, question_sets, split=split, progress=progress, phase=phase)
    with phase("promoting"):
        arrays, progress, moving_average = promote(
            setup, arrays, progress, split=split, datasets=datasets, trained=trained
        )
    episode, measured = trained.episode, trained.measured
    mean_rewards, right_shares = episode.mean_rewards, episode.right_shares
    num_steps = len(mean_rewards)
    num_student_steps = progress.num_student_steps + config.num_students * num_steps
    net_rewards, kl = subtract_teachers_kl(setup, measured.rewards, datasets.rollouts)
    return Scored(
        arrays=arrays,
        progress=dataclasses.replace(progress, num_student_steps=num_student_steps),
        rewards=np.repeat(measured.rewards[:, None], is_valid.shape[1], axis=1),
        dataset_rewards=measured.rewards,
        advantages=rollout_advantages(net_rewards, is_valid, config.teacher.invalid_penalty),
        solve_rates=solve_rates(episode.stats, is_valid, repeats),
        metrics={
            "baseline_accuracy": measured.baseline,
            "reward_standard_errors": measured.standard_errors.tolist(),
            "best_dataset": measured.best_dataset,
            "best_reward": measured.best_reward,
            "moving_average": moving_average,
            "inner_steps": num_steps,
            "inner_reward_first": float(mean_rewards[0].mean()),
            "inner_reward_last": float(mean_rewards[-1].mean()),
            "inner_reward_gain": float((mean_rewards[-1] - mean_rewards[0]).mean()),
            "inner_right_first": float(right_shares[0].mean()),
            "inner_right_last": float(right_shares[-1].mean()),
            "inner_changed_share": mean(trained.changed_shares),
        }
        | means(episode.indicators, "inner_")
        | means(kl, "teacher_"),
        completions=[answer.row(progress.outer_step, repeats) for answer in episode.shown],
    )


def score_by_votes(setup: Setup, arrays: RunArrays, progress: Progress, *, datasets: Datasets, phase: Phase) -> Scored:
    """Computes rewards from the baseline student's answers, without training students (paper: Intrinsic-T).

    With `teacher.reward_unit` "dataset" every rollout gets the mean reward of its dataset's questions, and a dataset
    one advantage, as with the grounded reward (paper, B.4); with "question" each rollout has its own.
    """
    with phase("answering questions"):
        values, agreement = rewards_by_votes(setup, arrays.baseline, datasets, step=progress.outer_step)
    is_valid, section = datasets.is_valid, setup.config.teacher
    of_datasets = values.sum(axis=1) / np.maximum(1, is_valid.sum(axis=1))  # over well-formed questions
    is_shared = section.reward_unit == "dataset"
    net_rewards, kl = subtract_teachers_kl(setup, of_datasets if is_shared else values, datasets.rollouts)
    compare = rollout_advantages if is_shared else question_advantages
    return Scored(
        arrays=arrays,
        progress=progress,
        rewards=np.repeat(of_datasets[:, None], is_valid.shape[1], axis=1) if is_shared else values,
        dataset_rewards=of_datasets,
        advantages=compare(net_rewards, is_valid, section.invalid_penalty),
        solve_rates=agreement,
        metrics=means(kl, "teacher_"),
        completions=[],
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
    """Applies the promotion rule to a step's students (Algorithm 1, step 6); returns the moving average too."""
    outcome = trained.measured.outcome(progress.outer_step)
    decision = decide(progress.window, outcome, setup.config.promotion)
    # What may be promoted, oldest first, this step's last.
    outcomes, students = (*progress.window, outcome), (*arrays.window, trained.candidate)
    best = () if outcome.best_dataset is None else datasets.questions(outcome.best_dataset)
    pairs = tuple((item.question, item.answer) for item in best)
    questions = (*progress.window_questions, pairs)
    arrays = dataclasses.replace(arrays, window=students[1:])
    num_kept = min(len(decision.window), len(arrays.window))
    kept = questions[len(questions) - num_kept :]
    progress = dataclasses.replace(progress, window=decision.window, window_questions=kept)
    if decision.promoted_step is None:
        return arrays, progress, decision.moving_average
    index = decision.promoted_step - outcome.outer_step - 1  # from the end
    source = outcomes[index]
    if source.best_dataset is None:
        raise SettingsError(
            f"promotion.rule is {setup.config.promotion.rule!r}, and it promoted outer step {source.outer_step}, "
            "where no dataset has a well-formed question; such a step's best_dataset is None"
        )
    promotions_before = sum(earlier.outer_step < source.outer_step for earlier in progress.promotions)
    promotion = Promotion(
        outer_step=outcome.outer_step,
        source_step=source.outer_step,
        dataset=source.best_dataset,
        reward=source.best_reward,
        validation_accuracy=selection_accuracy(setup, students[index], split),
        questions=questions[index],
        num_steps=setup.config.episode_steps(promotions_before),
    )
    return *_make_baseline(arrays, progress, students[index], promotion=promotion), decision.moving_average


def _make_baseline(
    arrays: RunArrays, progress: Progress, student: Params, *, promotion: Promotion
) -> tuple[RunArrays, Progress]:
    """Makes a student the baseline, and the best promoted student unless an earlier one has a higher accuracy."""
    accuracy = promotion.validation_accuracy
    is_best = not progress.promotions or accuracy >= progress.best_validation
    arrays = dataclasses.replace(arrays, baseline=student)
    progress = dataclasses.replace(
        progress,
        promotions=(*progress.promotions, promotion),
        baseline_validation=accuracy,
    )
    if is_best:
        arrays = dataclasses.replace(arrays, best=student)
        progress = dataclasses.replace(progress, best_validation=accuracy, best_promotion=len(progress.promotions))
    return arrays, progress


def _advance(setup: Setup, before: Progress, scored: Scored, *, num_tokens: int, num_flops: int) -> Progress:
    """Counts the step in the progress, and ends the search after the last step or at the goal."""
    config, num_steps = setup.config, before.outer_step + 1
    reached = scored.progress.baseline_validation >= config.outer.stop_at_validation
    return dataclasses.replace(
        scored.progress,
        outer_step=num_steps,
        num_idle_steps=before.num_idle_steps + (not scored.rewards.any()),
        num_sampled_tokens=before.num_sampled_tokens + num_tokens,
        num_flops=before.num_flops + num_flops,
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
