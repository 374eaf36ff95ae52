"""The early stop on made reward curves."""

import numpy as np
import pytest

from soar_jax.soar.plateau import plateau_step

STEPS = np.arange(1, 401)


def logistic(middle, width):
    return 1 / (1 + np.exp(-(STEPS - middle) / width))


def test_a_logistic_curve_levels_off_where_its_slope_is_a_share_of_the_largest():
    """Its slope is that of sech squared: 0.15 of the largest at 1.622 * 2 widths behind the middle."""
    found = plateau_step(logistic(100, 20), 1, 0.15)
    assert found == pytest.approx(100 + 20 * 2 * np.arccosh(0.15**-0.5), abs=1.5)
    assert plateau_step(120 * logistic(100, 20) + 7, 1, 0.15) == found  # whatever the scale of rewards
    assert plateau_step(logistic(100, 20), 25, 0.15) == pytest.approx(found, abs=5)
    assert plateau_step(logistic(100, 20), 25, 0.5) < plateau_step(logistic(100, 20), 25, 0.15)


def test_noise_below_the_slope_changes_little():
    noise = np.random.default_rng(0).normal(0, 1e-3, STEPS.size)
    clean, noisy = (plateau_step(100 * (logistic(150, 20) + more), 25, 0.15) for more in (0, noise))
    assert clean == pytest.approx(noisy, abs=15)


def test_the_flat_beginning_is_no_plateau():
    """The slope is far below the share long before the rise."""
    assert plateau_step(logistic(300, 5), 25, 0.15) > 300


@pytest.mark.parametrize(("smoothing", "found"), [(1, 102), (2, 103), (5, 104), (25, 114)])
def test_a_step_levels_off_when_the_window_has_passed_it(smoothing, found):
    """Rewards are 1 from step 101 on; the last slope above 0 leads to the first window that begins there."""
    assert plateau_step((STEPS > 100).astype(float), smoothing, 0.15) == found


def test_a_slope_equal_to_the_share_has_not_fallen_below_it():
    rewards = np.cumsum([0.0, 4.0, 2.0, 2.0, 1.0])
    assert plateau_step(rewards, 1, 0.5) == 5
    assert plateau_step(rewards, 1, 0.6) == 3


@pytest.mark.parametrize(
    "rewards",
    [
        np.full(400, 0.1),
        0.1 * STEPS,
        0.001 * STEPS**2,
        -1.0 * STEPS,
        np.zeros(0),
        np.arange(25.0),
        np.concatenate([np.zeros(380), np.arange(20.0)]),
    ],
    ids=["constant", "linear", "ever steeper", "falling", "empty", "too short", "rising at the end"],
)
def test_other_curves_do_not_level_off(rewards):
    assert plateau_step(rewards, 25, 0.15) is None


def test_the_shortest_curve_that_has_two_slopes():
    assert plateau_step(np.array([0.0, 0.0, 3.0, 3.0, 3.0, 3.0]), 3, 0.15) == 5
    assert plateau_step(np.array([0.0, 0.0, 3.0, 3.0, 3.0]), 3, 0.15) is None
