"""Chooses which tests of final students are reported (`final.report_at`; paper, B.6)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from soar_jax.config.sections import FinalSection
from soar_jax.soar.final_trainer import FinalStudents


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


def plateau_step(rewards: np.ndarray, smoothing: int, slope_share: float) -> int | None:
    """Finds the student step at which a training reward has levelled off: the early stop (paper, B.6).

    The rewards are smoothed by a centred mean, and the slope of a step is its smoothed reward minus that of the step
    before. The reward has levelled off at the first step, from the steepest one on, whose slope is below `slope_share`
    of the steepest. The paper normalises slopes by the range of the rewards, which cancels in this comparison. It says
    that the slope falls below the share; before the steepest step nothing has fallen yet, so the flat beginning of a
    reward that has still to rise is no plateau.

    The mean is taken over whole windows only: the first and the last `smoothing // 2` steps have no smoothed reward, so
    that no slope there rests on fewer rewards, where noise would be taken for the steepest one.

    Args:
      rewards: [steps] mean training reward of each student step.
      smoothing: student steps of the centred mean; of an even number, one more is before the centre than after it.
      slope_share: in (0, 1).

    Returns:
      The step, counted from 1; None where the reward never rises, or rises to the end.
    """
    if len(rewards) <= smoothing:  # no two smoothed rewards
        return None
    smoothed = np.lib.stride_tricks.sliding_window_view(np.asarray(rewards, np.float64), smoothing).mean(axis=1)
    slopes = np.diff(smoothed)
    steepest = int(np.argmax(slopes))
    if slopes[steepest] <= 0:
        return None
    flat = np.flatnonzero(slopes[steepest:] < slope_share * slopes[steepest])
    # Slope i leads to smoothed reward i + 1, whose centre is reward i + 1 + smoothing // 2, counted from 0.
    return steepest + int(flat[0]) + smoothing // 2 + 2 if flat.size else None


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
