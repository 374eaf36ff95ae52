"""Which tests of final students are reported."""

import numpy as np
import pytest

from soar_jax.runs.reported_tests import choose_tests, join_tests
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
def test_without_a_test_after_the_plateau_the_last_ones_are_reported(rewards, smoothing, stop, why):
    found = choose(students_of(rewards), **{"final.plateau_smoothing": smoothing})
    assert (found.steps, found.plateau_step) == ((70, 80, 90, 100), stop)
    assert found.missing == f"the training reward {why} in 100 student steps"


def test_students_who_did_not_train_are_reported_as_they_are():
    found = choose(students_of([], before=100))
    assert found.steps == (100,)


def test_reported_tests_are_joined_as_more_replicas():
    joined = join_tests(students_of(np.zeros(100)), (30, 40))
    assert joined == {"hard_test": {"num_samples": 500, "ids": ["p"], "num_correct": [[30], [15], [40], [20]]}}
