"""Chooses which tests of final students are reported (`final.report_at`)."""

from __future__ import annotations

import dataclasses
from typing import Any

from soar_jax.config.sections import FinalSection
from soar_jax.soar.final_trainer import FinalStudents
from soar_jax.soar.plateau import plateau_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reported:
    """The tests whose mean is a policy's figure."""

    steps: tuple[int, ...]  # student steps of the tests
    plateau_step: int | None  # at which the training reward had levelled off; None where it has not, or is not asked
    missing: str  # why there is no test after the plateau; empty where there is one, or none is needed


def choose_tests(settings: FinalSection, students: FinalStudents) -> Reported:
    """Chooses by `report_at`: the last test, or those in the `report_steps` after the reward has levelled off.

    Students whose reward does not level off, or too late for a test after it, are reported by the tests in their last
    `report_steps`: the paper trains for at most 1,500 steps too, and is silent about such students.
    """
    end = students.student_steps
    if settings.report_at != "plateau":
        return Reported(steps=(end,), plateau_step=None, missing="")
    found = plateau_step(students.rewards, settings.plateau_smoothing, settings.plateau_slope)
    stop = None if found is None else end - students.trained_steps + found
    after = _within(students, stop, settings.report_steps) if stop is not None else ()
    if after:
        return Reported(steps=after, plateau_step=stop, missing="")
    why = "has not levelled off" if stop is None else f"levelled off at step {stop}, with no test after it,"
    return Reported(
        steps=_within(students, end - settings.report_steps, settings.report_steps),
        plateau_step=stop,
        missing=f"the training reward {why} in {end} student steps",
    )


def join_tests(students: FinalStudents, steps: tuple[int, ...]) -> dict[str, Any]:
    """Joins the tests at several steps: `num_correct` [steps * replicas, problems], all replicas of a step together."""
    first, *others = (students.tests[step] for step in steps)
    return {
        name: values
        | {"num_correct": values["num_correct"] + [row for each in others for row in each[name]["num_correct"]]}
        for name, values in first.items()
    }


def _within(students: FinalStudents, start: int, length: int) -> tuple[int, ...]:
    """Tests in the `length` student steps after `start`."""
    return tuple(step for step in sorted(students.tests) if start < step <= start + length)
