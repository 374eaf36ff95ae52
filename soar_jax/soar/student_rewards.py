"""Rewards of students' answers in training, chosen by `student.reward`.

    @STUDENT_REWARDS.register("short")
    def short(texts, references, is_right):
        return is_right * np.array([100 / (100 + len(text)) for text in texts])

Accuracies (dataset rewards, pass@k, the hard subset) count right answers only, whatever the reward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from soar_jax.registry import Registry

# Maps completions [N], their reference answers [N] and the grader's verdicts [N] bool to rewards [N] float.
StudentReward = Callable[[Sequence[str], Sequence[str], np.ndarray], np.ndarray]

STUDENT_REWARDS: Registry[StudentReward] = Registry("student.reward")


@STUDENT_REWARDS.register("right")
def right(texts: Sequence[str], references: Sequence[str], is_right: np.ndarray) -> np.ndarray:
    """Returns 1 for a right answer, else 0.

    Departure: the paper gives 120 for a right boxed answer, 20 for a wrong one whose text contains the right one, 10
    for another boxed answer and 0 without a box (section 3).
    """
    return is_right.astype(np.float32)
