import numpy as np
import pytest

from soar_jax.evaluation.statistics import MeanInterval
from soar_jax.report.verdicts import all_hold, exact_test, is_above, is_at_least, is_below


def interval(low, high, num_seeds=5):
    return MeanInterval(mean=(low + high) / 2, low=low, high=high, num_seeds=num_seeds)


@pytest.mark.parametrize(
    ("low", "high", "above", "at_least", "below"),
    [
        (1.0, 2.0, True, True, False),
        (-2.0, -1.0, False, False, True),
        (-1.0, 1.0, None, None, None),
        (0.0, 0.0, False, True, False),
        (np.inf, np.inf, True, True, False),
        (np.nan, np.nan, None, None, None),
    ],
)
def test_one_side_of_the_bound_decides(low, high, above, at_least, below):
    found = interval(low, high)
    assert (is_above(found, 0.0), is_at_least(found, 0.0), is_below(found, 0.0)) == (above, at_least, below)


def test_two_seeds_decide_nothing():
    assert is_above(interval(1.0, 2.0, num_seeds=2)) is None
    assert is_below(interval(-2.0, -1.0, num_seeds=2), 0.0) is None


def test_one_claim_that_fails_decides_all():
    assert all_hold([True, None, False]) is False
    assert all_hold([True, None]) is None
    assert all_hold([True, True]) is True
    assert all_hold([]) is None


def test_exact_test_counts_seeds_that_succeeded():
    ours = [np.full(3, 95.0)] * 10
    theirs = [np.full(3, 90.0)] * 4 + [np.full(3, 5.0)] * 6
    assert exact_test(ours, theirs) == (
        "At least 80% is reached by 10 of 10 seeds against 4 of 10 (Fisher's exact test: p = 0.011)."
    )
    assert exact_test(theirs[4:], theirs[5:]) == ""
