"""The one rule that decides every finding: a 95% interval on one side of a bound, else it is undecided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar_jax.evaluation.statistics import MeanInterval

MIN_SEEDS = 3  # with fewer, nothing is decided
SUCCESS = 80.0  # percent of the problems; a seed that solves as many at pass@1 has succeeded


def is_above(interval: MeanInterval, bound: float = 0.0) -> bool | None:
    """Whether a quantity exceeds a bound; None, undecided, where its interval has values on both sides."""
    if interval.num_seeds < MIN_SEEDS or np.isnan(interval.low):
        return None
    return True if interval.low > bound else False if interval.high <= bound else None


def is_at_least(interval: MeanInterval, bound: float) -> bool | None:
    """As `is_above`, for a quantity that may equal the bound."""
    return negated(is_below(interval, bound))


def is_below(interval: MeanInterval, bound: float) -> bool | None:
    """Whether a quantity is less than a bound, as in `is_above`."""
    if interval.num_seeds < MIN_SEEDS or np.isnan(interval.low):
        return None
    return True if interval.high < bound else False if interval.low >= bound else None


def negated(verdict: bool | None) -> bool | None:
    """The verdict on the opposite claim."""
    return None if verdict is None else not verdict


def all_hold(verdicts: Sequence[bool | None]) -> bool | None:
    """Whether all claims hold: one that does not decides, else one that is undecided; None if there are none."""
    if False in verdicts:
        return False
    return None if not verdicts or None in verdicts else True


def exact_test(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> str:
    """Sentence with the seeds of each side that succeeded, and Fisher's exact test; empty where none did.

    Outcomes of the embedded model are mostly all or nothing. Of ten such seeds a bootstrap's interval is too narrow,
    see `evaluation.statistics.mean_interval`, while this test holds its level for any number.

    Args:
      ours: for each seed, pass@1 of every problem in percent.
      theirs: the same of the other side.
    """
    from scipy.stats import fisher_exact

    succeeded = [sum(values.mean() >= SUCCESS for values in side) for side in (ours, theirs)]
    if not any(succeeded):
        return ""
    counts = [[count, len(side) - count] for count, side in zip(succeeded, (ours, theirs), strict=True)]
    p = fisher_exact(counts).pvalue
    own, other = (f"{count} of {len(side)}" for count, side in zip(succeeded, (ours, theirs), strict=True))
    return f"At least {SUCCESS:g}% is reached by {own} seeds against {other} (Fisher's exact test: p = {p:.2g})."
