"""Rules that decide when a trained student becomes the baseline student (paper, Algorithm 1, step 6).

A new rule is one function:

    @PROMOTION_RULES.register("any_gain")
    def any_gain(window, settings):
        gained = window[-1].best_reward > 0
        return Decision(promoted_step=window[-1].outer_step if gained else None, window=window, moving_average=0.0)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from soar_jax.config.sections import PromotionSection
from soar_jax.registry import Registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """Rewards of one outer step, input of a promotion rule."""

    outer_step: int
    mean_reward: float  # over the g datasets
    best_reward: float
    best_dataset: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """Output of a promotion rule."""

    promoted_step: int | None  # outer step whose best student is promoted; None for no promotion
    window: tuple[StepOutcome, ...]  # outcomes to keep for the next step
    moving_average: float


# Takes the last `promotion.window` outcomes, this step's last, all measured against the same baseline student.
PromotionRule = Callable[[tuple[StepOutcome, ...], PromotionSection], Decision]

PROMOTION_RULES: Registry[PromotionRule] = Registry("promotion.rule")


@PROMOTION_RULES.register("moving_average")
def moving_average(window: tuple[StepOutcome, ...], settings: PromotionSection) -> Decision:
    """Promotes if the window is full and the mean of its statistic exceeds tau; a promotion clears the window.

    The paper does not say whether a promotion clears the window, or whether it may come before the window is full.
    Departure: "window_best" may promote the best student of an earlier step of the window.
    """
    values = [step.best_reward if settings.statistic == "best" else step.mean_reward for step in window]
    average, outcome = sum(values) / len(values), window[-1]
    promote = len(window) == settings.window and average > settings.threshold
    if settings.needs_step_reward:
        promote = promote and outcome.best_reward > settings.threshold
    if not promote:
        return Decision(promoted_step=None, window=window, moving_average=average)
    source = outcome
    if settings.student == "window_best":
        source = max(window, key=lambda step: (step.best_reward, step.outer_step))
    return Decision(promoted_step=source.outer_step, window=(), moving_average=average)


def decide(window: tuple[StepOutcome, ...], outcome: StepOutcome, settings: PromotionSection) -> Decision:
    """Appends a step's outcome to the window and applies the rule `promotion.rule`."""
    return PROMOTION_RULES[settings.rule]((*window, outcome)[-settings.window :], settings)
