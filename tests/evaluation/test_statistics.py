import numpy as np
import pytest

from soar_jax.evaluation.statistics import (
    MeanInterval,
    mean_bands,
    mean_interval,
    paired_difference,
    paired_ratio,
    seed_sd,
)


def studies(num_seeds, num_problems, seed_sd, count, rng):
    """Yields simulated studies: the means of seeds vary around 0.4, the values of problems around their seed's."""
    for _ in range(count):
        means = rng.normal(0.4, seed_sd, num_seeds)
        yield [rng.normal(mean, 0.3, num_problems) for mean in means]


def test_one_seed_gives_the_normal_interval_over_problems():
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    interval = mean_interval([values])
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert interval.num_seeds == 1


@pytest.mark.parametrize(
    ("num_seeds", "seed_sd", "least", "most"),
    [(20, 0.3, 0.89, 0.97), (5, 0.3, 0.79, 0.90), (5, 0.03, 0.92, 1.0)],
)
def test_coverage_of_the_true_mean(num_seeds, seed_sd, least, most):
    rng = np.random.default_rng(2)
    intervals = [mean_interval(study) for study in studies(num_seeds, 40, seed_sd=seed_sd, count=300, rng=rng)]
    covered = np.mean([interval.low <= 0.4 <= interval.high for interval in intervals])
    assert least <= covered <= most


def test_coverage_is_lowest_for_all_or_nothing_seeds():
    rng = np.random.default_rng(7)
    succeeded = rng.random((300, 5)) < 0.8
    intervals = [mean_interval([np.full(40, float(seed)) for seed in study]) for study in succeeded]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert 0.6 < covered < 0.74


def test_pairing_removes_common_variation():
    rng = np.random.default_rng(3)
    base = [rng.normal(mean, 0.3, 60) for mean in (0.1, 0.4, 0.9)]
    better = [values + 0.05 + rng.normal(0, 0.01, 60) for values in base]
    difference = paired_difference(better, base)
    assert 0.04 < difference.low < difference.mean < difference.high < 0.06
    assert not mean_interval(better).is_above(mean_interval(base))  # unpaired, the intervals overlap


def test_pairs_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        paired_difference([np.zeros(3)], [np.zeros(4)])
    with pytest.raises(ValueError, match="zip"):
        paired_difference([np.zeros(3)], [np.zeros(3), np.zeros(3)])


def test_ratios():
    rng = np.random.default_rng(4)
    few = [rng.random(100) * 0.1 for _ in range(4)]
    ratio = paired_ratio([4 * values for values in few], few)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((4, 4, 4))
    half = [np.array([0.0] * 99 + [0.1]), np.zeros(100)]
    against_zero = paired_ratio([np.ones(100), np.ones(100)], half)
    assert against_zero.high == np.inf
    assert 100 < against_zero.low < against_zero.mean
    nothing = paired_ratio([np.zeros(5)], [np.zeros(5)])
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


def test_interval_is_deterministic():
    values = [np.random.default_rng(5).random(30), np.random.default_rng(6).random(50)]
    assert mean_interval(values) == mean_interval(values)
    assert MeanInterval(mean=0.5, low=0.4, high=0.6, num_seeds=2).is_above(
        MeanInterval(mean=0.3, low=0.2, high=0.39, num_seeds=2)
    )


def test_seed_sd_is_that_of_all_students():
    teachers = [np.array([1.0, 3.0]), np.array([5.0])]
    assert seed_sd(teachers) == pytest.approx(2.0)
    assert seed_sd([np.array([4.0])]) is None


def test_bands_are_intervals_of_means_over_seeds():
    values = np.random.default_rng(3).normal(0.5, 0.2, (30, 2))
    low, high = mean_bands(values)
    half = 1.96 * values.std(axis=0) / np.sqrt(len(values))
    np.testing.assert_allclose(low, values.mean(axis=0) - half, atol=0.1 * half.max())
    np.testing.assert_allclose(high, values.mean(axis=0) + half, atol=0.1 * half.max())
    one = values[:1]
    np.testing.assert_array_equal(mean_bands(one), [one[0], one[0]])
