"""When a trained student becomes the new baseline (paper: promotion)."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromotionSettings:
    """The promotion rule."""

    threshold: float  # tau
    window: int  # outer steps that the moving average spans
    statistic: str  # of a step's g rewards: "mean" or "best"
    student: str  # who is promoted: "step_best" or "window_best"
    needs_step_reward: bool  # also require this step's best reward to exceed tau


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one outer step adds to the window."""

    outer_step: int
    mean_reward: float  # over the g datasets
    best_reward: float
    best_dataset: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """The rule's answer: the step whose best student is promoted, if any, and the window to keep."""

    promoted_step: int | None
    window: tuple[StepOutcome, ...]
    moving_average: float


def decide(window: tuple[StepOutcome, ...], outcome: StepOutcome, settings: PromotionSettings) -> Decision:
    """Adds a step's outcome to the window and applies the rule.

    Promote when the window is full and the mean of its statistic exceeds tau. All rewards
    of a window are measured against one baseline student, so a promotion clears it.
    """
    window = (*window, outcome)[-settings.window :]
    values = [step.best_reward if settings.statistic == "best" else step.mean_reward for step in window]
    average = sum(values) / len(values)
    promote = len(window) == settings.window and average > settings.threshold
    if settings.needs_step_reward:
        promote = promote and outcome.best_reward > settings.threshold
    if not promote:
        return Decision(promoted_step=None, window=window, moving_average=average)
    if settings.student == "step_best":
        return Decision(promoted_step=outcome.outer_step, window=(), moving_average=average)
    best = max(window, key=lambda step: (step.best_reward, step.outer_step))
    return Decision(promoted_step=best.outer_step, window=(), moving_average=average)
