"""Means over seeds and problems with bootstrap intervals; differences and ratios are paired."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
_STRIDE = 1_237  # shifts the problem draws between the slots of a resample, so that a seed drawn twice differs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float
    num_seeds: int

    def is_above(self, other: Interval) -> bool:
        """Whether the two intervals are apart, this one above."""
        return self.low > other.high


def mean_interval(values: Sequence[np.ndarray]) -> Interval:
    """Mean over seeds of the mean over problems, with a hierarchical percentile bootstrap.

    A resample draws seeds with replacement, and within each draw problems with replacement. With few
    seeds such intervals are too narrow where seeds differ more than problems: of simulated studies with
    5 seeds 85% of them hold the truth, and two thirds where a seed succeeds or fails as a whole (4 in 5
    of them do: a third of the studies see no failure); with 20 seeds 93% and more. Where problems differ
    more than seeds they hold it in 95% and more. One seed gives the spread over its problems alone.

    Args:
      values: for each seed a value a problem, [problems of that seed].
    """
    draws = _resample([column[:, None] for column in values])[:, 0]
    return _interval(_mean(values), draws, len(values))


def paired_difference(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Interval:
    """Mean of a minus mean of b; both draw the same seeds and problems in each resample.

    Raises:
      ValueError: a and b do not have the same seeds and problems.
    """
    draws = _resample(_paired(a, b))
    return _interval(_mean(a) - _mean(b), draws[:, 0] - draws[:, 1], len(a))


def paired_ratio(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Interval:
    """Mean of a over mean of b, paired as in `paired_difference`.

    Infinite where b is 0 and a is not; a resample in which both are 0 says nothing and is left out.
    """
    draws = _resample(_paired(a, b))
    ratios = _ratio(draws[:, 0], draws[:, 1])
    return _interval(float(_ratio(np.array(_mean(a)), np.array(_mean(b)))), ratios[~np.isnan(ratios)], len(a))


def _paired(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.stack([left, right], axis=1) for left, right in zip(a, b, strict=True)]


def _mean(values: Sequence[np.ndarray]) -> float:
    return float(np.mean([np.mean(column) for column in values]))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(a / b)


def _interval(mean: float, draws: np.ndarray, num_seeds: int) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    if not len(draws):
        return Interval(mean=mean, low=float("nan"), high=float("nan"), num_seeds=num_seeds)
    # No interpolation: between a number and infinity there is nothing.
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return Interval(mean=mean, low=float(low), high=float(high), num_seeds=num_seeds)


def _resample(values: Sequence[np.ndarray]) -> np.ndarray:
    """Means of every resample [NUM_RESAMPLES, C]; `values` [problems, C] for each seed."""
    size = len(values)
    means = np.stack([_counts(len(value), seed) @ value / len(value) for seed, value in enumerate(values)])
    chosen = np.random.default_rng(0).integers(size, size=(size, NUM_RESAMPLES))
    rows = np.arange(NUM_RESAMPLES)
    slots = [means[chosen[slot], (rows + slot * _STRIDE) % NUM_RESAMPLES] for slot in range(size)]
    return np.mean(slots, axis=0)


@functools.lru_cache(maxsize=128)
def _counts(num_problems: int, seed: int) -> np.ndarray:
    """How often each resample draws each problem [NUM_RESAMPLES, problems]."""
    shares = np.full(num_problems, 1 / num_problems)
    return (
        np.random.default_rng((seed, num_problems)).multinomial(num_problems, shares, NUM_RESAMPLES).astype(np.uint16)
    )
