"""Rules that decide when a trained student becomes the baseline student (Algorithm 1, step 6).

A new rule is one function:

    @PROMOTION_RULES.register("any_gain")
    def any_gain(window, settings):
        gained = window[-1].best_reward > 0
        return Decision(promoted_step=window[-1].outer_step if gained else None, window=window, moving_average=0.0)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from soar_jax.config.sections import PromotionSection
from soar_jax.registry import FactRegistry


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """Rewards of one outer step, input of a promotion rule."""

    outer_step: int
    mean_reward: float  # over the g datasets
    best_reward: float  # of `best_dataset`; 0 without one
    best_dataset: int | None  # k*; None where no dataset has a well-formed question


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """Output of a promotion rule."""

    promoted_step: int | None  # outer step whose candidate is promoted; None for no promotion
    window: tuple[StepOutcome, ...]  # outcomes to keep for the next step
    moving_average: float


# Takes the last `promotion.window` outcomes, this step's last, all measured against the same baseline student.
Decide = Callable[[tuple[StepOutcome, ...], PromotionSection], Decision]


@dataclasses.dataclass(frozen=True)
class PromotionRule:
    """A registered rule, and facts about it."""

    decide: Decide
    _: dataclasses.KW_ONLY
    promotes: bool = True  # False: there is never a promoted student


PROMOTION_RULES: FactRegistry[PromotionRule, Decide] = FactRegistry("promotion.rule", PromotionRule)


@PROMOTION_RULES.register("moving_average")
def moving_average(window: tuple[StepOutcome, ...], settings: PromotionSection) -> Decision:
    """As `moving_average_literal`, but a dataset whose students gained nothing is not promoted.

    Departure: by the paper's rule the gains of earlier steps promote this step's best dataset even where it made its
    students worse.
    """
    source = _source(window, settings)
    if source is not None and source.best_reward <= 0:
        return Decision(promoted_step=None, window=window, moving_average=_average(window, settings))
    return moving_average_literal(window, settings)


@PROMOTION_RULES.register("moving_average_literal")
def moving_average_literal(window: tuple[StepOutcome, ...], settings: PromotionSection) -> Decision:
    """Promotes if the mean of the window's statistic exceeds tau (paper, B.3).

    The paper does not say whether a promotion clears the window (`promotion.clears_window`), or whether it may come
    before the window is full (`promotion.needs_full_window`).
    Departure: "window_best" may promote the candidate of an earlier step of the window.
    """
    average, source = _average(window, settings), _source(window, settings)
    is_full = len(window) == settings.window
    promote = (is_full or not settings.needs_full_window) and average > settings.threshold
    if settings.needs_step_reward:
        promote = promote and window[-1].best_reward > settings.threshold
    if source is None or not promote:
        return Decision(promoted_step=None, window=window, moving_average=average)
    kept = () if settings.clears_window else window
    return Decision(promoted_step=source.outer_step, window=kept, moving_average=average)


@PROMOTION_RULES.register("never", promotes=False)
def never(window: tuple[StepOutcome, ...], settings: PromotionSection) -> Decision:
    """Promotes nobody: students always start from the base model (paper: Grounded-T without promotion)."""
    return Decision(promoted_step=None, window=window, moving_average=_average(window, settings))


def _source(window: tuple[StepOutcome, ...], settings: PromotionSection) -> StepOutcome | None:
    """The step whose candidate may be promoted; None where it has no well-formed question."""
    steps = window if settings.student == "window_best" else window[-1:]
    with_questions = [step for step in steps if step.best_dataset is not None]
    return max(with_questions, key=lambda step: (step.best_reward, step.outer_step), default=None)


def _average(window: tuple[StepOutcome, ...], settings: PromotionSection) -> float:
    """The mean of `promotion.statistic` over the steps that the window has."""
    values = [step.best_reward if settings.statistic == "best" else step.mean_reward for step in window]
    return sum(values) / len(values)


def decide(window: tuple[StepOutcome, ...], outcome: StepOutcome, settings: PromotionSection) -> Decision:
    """Appends a step's outcome to the window and applies the rule `promotion.rule`."""
    return PROMOTION_RULES[settings.rule].decide((*window, outcome)[-settings.window :], settings)


def candidate_index(accuracy: np.ndarray, settings: PromotionSection) -> int:
    """Returns which of the best dataset's students is promoted, if its step is (paper, B.3: the median one).

    Ties: students of equal accuracy rank by their number, the first lowest, so the median is one certain student. Of
    several best ones "step_best" and "window_best" take the first.

    Args:
      accuracy: [r] of the students on the reward questions, which orders them as their rewards do.
    """
    if settings.student != "step_median":
        return int(np.argmax(accuracy))
    size = len(accuracy)
    middle = size // 2 if settings.even_median == "upper" else (size - 1) // 2  # the same for odd r
    return int(np.argsort(accuracy, kind="stable")[middle])
