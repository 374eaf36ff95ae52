"""Which tests of final students are reported, and the early stop on made reward curves."""

import numpy as np
import pytest

from soar_jax.runs.reported_tests import choose_tests, join_tests, plateau_step
from soar_jax.soar.final_trainer import FinalStudents
from tests.configs import make_config

PLATEAU = {
    "final.report_at": "plateau",
    "final.test_every": 10,
    "final.report_steps": 40,
    "final.plateau_smoothing": 5,
    "final.num_steps": 100,
    "final.warmup_steps": 0,
}


def students_of(rewards, before=0, every=10):
    """Students whose replicas solve as many problems as they have steps and half of them."""
    end = before + len(rewards)
    steps = sorted({*range(before - before % every + every, end + 1, every), end})
    tests = {
        step: {"hard_test": {"num_samples": 500, "ids": ["p"], "num_correct": [[step], [step // 2]]}} for step in steps
    }
    return FinalStudents(
        student_steps=end, trained_steps=len(rewards), curve=[], rewards=np.asarray(rewards, float), tests=tests
    )


def choose(students, **changes):
    return choose_tests(make_config(**PLATEAU | changes).final, students)


def rises_at(step, length=100):
    return (np.arange(1, length + 1) >= step).astype(float)


def test_the_last_test_is_reported_at_the_end():
    found = choose(students_of(rises_at(20)), **{"final.report_at": "end"})
    assert (found.steps, found.plateau_step, found.missing) == ((100,), None, "")
    at_a_step = {"final.report_at": "step", "final.report_step": 50}
    assert choose(students_of(np.zeros(50)), **at_a_step).steps == (50,)  # where training ended


def test_the_tests_after_the_plateau_are_reported():
    """A step is smoothed over 5: rewards that rise at step 20 are level at step 23."""
    found = choose(students_of(rises_at(20)))
    assert (found.steps, found.plateau_step, found.missing) == ((30, 40, 50, 60), 23, "")
    exactly = choose(students_of(rises_at(17)))  # level at step 20: its own test is not after it
    assert (exactly.steps, exactly.plateau_step) == ((30, 40, 50, 60), 20)


def test_a_late_plateau_has_fewer_tests_after_it():
    found = choose(students_of(rises_at(72)))
    assert (found.steps, found.plateau_step, found.missing) == ((80, 90, 100), 75, "")


def test_steps_behind_a_promoted_student_count():
    found = choose(students_of(rises_at(20, 75), before=25))
    assert (found.steps, found.plateau_step) == ((50, 60, 70, 80), 48)


@pytest.mark.parametrize(
    ("rewards", "smoothing", "stop", "why"),
    [
        (np.zeros(100), 5, None, "has not levelled off"),
        (np.arange(100), 5, None, "has not levelled off"),
        (rises_at(99), 1, 100, "levelled off at step 100, with no test after it,"),
    ],
)
def test_without_a_test_after_the_plateau_the_last_are_reported(rewards, smoothing, stop, why):
    found = choose(students_of(rewards), **{"final.plateau_smoothing": smoothing})
    assert (found.steps, found.plateau_step) == ((70, 80, 90, 100), stop)
    assert found.missing == f"the training reward {why} in 100 student steps"


def test_students_who_did_not_train_are_reported_as_they_are():
    found = choose(students_of([], before=100))
    assert found.steps == (100,)


def test_reported_tests_are_joined_as_more_replicas():
    joined = join_tests(students_of(np.zeros(100)), (30, 40))
    assert joined == {"hard_test": {"num_samples": 500, "ids": ["p"], "num_correct": [[30], [15], [40], [20]]}}


STEPS = np.arange(1, 401)


def logistic(middle, width):
    return 1 / (1 + np.exp(-(STEPS - middle) / width))


def test_a_logistic_curve_levels_off_at_a_share_of_its_slope():
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
