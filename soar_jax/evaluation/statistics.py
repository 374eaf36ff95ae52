"""Bootstrap intervals of means over seeds and problems; differences and ratios are paired. Spreads over seeds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
_STRIDE = 1_237  # shifts the problem draws between the slots of a resample: a seed drawn twice gets two draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanInterval:
    """A mean and its 95% interval, and the SD where one was asked for."""

    mean: float
    low: float
    high: float
    num_seeds: int
    sd: float | None = None  # see `seed_sd`

    def is_above(self, other: MeanInterval) -> bool:
        """Whether all of this interval is above the other."""
        return self.low > other.high


def mean_interval(values: Sequence[np.ndarray]) -> MeanInterval:
    """Mean over seeds of the mean over problems, with a hierarchical percentile bootstrap.

    A resample draws seeds with replacement, and problems with replacement within each drawn seed. One seed gives
    the spread over its problems alone.

    If seeds differ more than problems, few seeds give intervals that are too narrow. In simulated studies the 95%
    intervals cover the true mean 85% of the time with 5 seeds, and at least 93% with 20. With 5 all-or-nothing
    seeds of which 80% succeed, they cover it about 2 times in 3: a third of such studies see no failure. If
    problems differ more than seeds, coverage is at least 95%.

    Args:
      values: for each seed, a value per problem of that seed, [problems].
    """
    draws = _resample([column[:, None] for column in values])[:, 0]
    return _interval(_mean(values), draws, len(values))


def mean_bands(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends of the intervals of means over seeds, at each of several points; seeds are drawn as wholes.

    Args:
      values: a value per seed and point, [seeds, points].
    """
    size = len(values)
    counts = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(counts @ values / size, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return low, high


def seed_sd(values: Sequence[np.ndarray]) -> float | None:
    """SD over seeds, as the paper's tables give it beside a mean: of single students, not of the mean.

    Seeds are nested: each has students of its own, and all of them count alike. It is the sample SD (n - 1), since the
    paper names none.

    Args:
      values: for each seed, the mean over problems of each of its students, [students].

    Returns:
      The SD; None for fewer than two students.
    """
    students = np.concatenate(values)
    return float(np.std(students, ddof=1)) if len(students) > 1 else None


def paired_difference(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> MeanInterval:
    """Mean of a minus mean of b; a resample draws the same seeds and problems for both.

    Of two methods whose seeds are all or nothing, of which 80 to 95% and 30 to 50% succeed, the interval covers the
    true difference 81 to 94% of the time with 5 seeds, and 87 to 96% with 10. If half of each succeed, it is entirely
    above 0 in 3 to 5% of the studies (2,000 simulated ones each).

    Raises:
      ValueError: a and b differ in their seeds or problems.
    """
    draws = _resample(_paired(a, b))
    return _interval(_mean(a) - _mean(b), draws[:, 0] - draws[:, 1], len(a))


def paired_ratio(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> MeanInterval:
    """Mean of a over mean of b, paired as in `paired_difference`.

    The ratio is infinite if only b is 0. Resamples in which both are 0 are dropped.
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


def _interval(mean: float, draws: np.ndarray, num_seeds: int) -> MeanInterval:
    tail = (1 - CONFIDENCE) / 2
    if not len(draws):
        return MeanInterval(mean=mean, low=float("nan"), high=float("nan"), num_seeds=num_seeds)
    # No interpolation: a value between a number and infinity would be meaningless.
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return MeanInterval(mean=mean, low=float(low), high=float(high), num_seeds=num_seeds)


def _resample(values: Sequence[np.ndarray]) -> np.ndarray:
    """Means of all resamples, [NUM_RESAMPLES, C]; `values` has [problems, C] for each seed."""
    size = len(values)
    means = np.stack([_counts(len(value), seed) @ value / len(value) for seed, value in enumerate(values)])
    seeds = np.random.default_rng(0).integers(size, size=(size, NUM_RESAMPLES))
    rows = np.arange(NUM_RESAMPLES)
    slots = [means[seeds[slot], (rows + slot * _STRIDE) % NUM_RESAMPLES] for slot in range(size)]
    return np.mean(slots, axis=0)


@functools.lru_cache(maxsize=128)
def _counts(num_problems: int, seed: int) -> np.ndarray:
    """Number of times each resample draws each problem, [NUM_RESAMPLES, problems]."""
    shares = np.full(num_problems, 1 / num_problems)
    return (
        np.random.default_rng((seed, num_problems)).multinomial(num_problems, shares, NUM_RESAMPLES).astype(np.uint16)
    )
