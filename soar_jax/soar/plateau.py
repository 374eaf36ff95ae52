"""When a training reward has levelled off: the early stop of final students (paper, B.6)."""

from __future__ import annotations

import numpy as np


def plateau_step(rewards: np.ndarray, smoothing: int, slope_share: float) -> int | None:
    """Finds the student step at which the reward has levelled off.

    The rewards are smoothed by a centred mean, and the slope of a step is its smoothed reward minus that of the step
    before. The reward has levelled off at the first step, from the steepest one on, whose slope is below `slope_share`
    of the steepest. The paper normalises slopes by the range of the rewards, which cancels in this comparison. It says
    that the slope falls below the share; before the steepest step nothing has fallen yet, so the flat beginning of a
    reward that has still to rise is no plateau.

    The mean is taken over whole windows only: the first and the last `smoothing // 2` steps have no smoothed reward, so
    that no slope there rests on fewer rewards, where noise would be taken for the steepest one.

    Args:
      rewards: [steps] mean training reward of each student step.
      smoothing: student steps of the centred mean; of an even number, one more lies before the centre than after it.
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
