"""The grounded teacher reward (paper: outer loop, steps 5 and 6)."""

from __future__ import annotations

import numpy as np


def dataset_rewards(student_accuracy: np.ndarray, baseline_accuracy: float) -> np.ndarray:
    """R(X_k) = mean over the r students of accuracy - the baseline student's accuracy.

    Args:
      student_accuracy: [g, r] share of right answers to the reward questions.
      baseline_accuracy: the baseline student's, on the same questions.

    Returns:
      [g] float64.
    """
    return np.asarray(student_accuracy, np.float64).mean(axis=1) - baseline_accuracy


def rollout_advantages(rewards: np.ndarray, is_valid: np.ndarray, invalid_penalty: float) -> np.ndarray:
    """RLOO over the g dataset rewards, given to every rollout of a dataset.

    A_k = R_k - mean of the other g - 1. A rollout without a parsable question and answer
    gets -invalid_penalty * max_k |A_k| instead: it took no part in R_k.

    Args:
      rewards: [g].
      is_valid: [g, n] bool, whether the rollout was parsed.
      invalid_penalty: 0 or more, in units of the largest advantage.

    Returns:
      [g, n] float32.
    """
    size = rewards.shape[0]
    advantages = (rewards - rewards.mean()) * size / (size - 1)
    penalty = -invalid_penalty * np.abs(advantages).max()
    return np.where(is_valid, advantages[:, None], penalty).astype(np.float32)
