"""Teacher rewards: the grounded one (paper: outer loop, steps 5 and 6) and those of the questions alone."""

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
    # The difference first: students that are as good as the baseline have exactly zero, whatever r is.
    return (np.asarray(student_accuracy, np.float64) - baseline_accuracy).mean(axis=1)


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
    advantages = (rewards - rewards.mean()) * size / max(1, size - 1)  # one alone has none
    penalty = -invalid_penalty * np.abs(advantages).max()
    return np.where(is_valid, advantages[:, None], penalty).astype(np.float32)


def question_advantages(rewards: np.ndarray, is_valid: np.ndarray, invalid_penalty: float) -> np.ndarray:
    """RLOO over rewards that every question has for itself.

    A_i = R_i - mean of the other valid questions'. Unparsable rollouts as in `rollout_advantages`.

    Args:
      rewards: [g, n]; ignored where not valid.
      is_valid: [g, n] bool.

    Returns:
      [g, n] float32; zeros where fewer than two are valid.
    """
    size = int(is_valid.sum())
    if size < 2:
        return np.zeros(rewards.shape, np.float32)
    advantages = (rewards - rewards[is_valid].mean()) * size / (size - 1)
    penalty = -invalid_penalty * np.abs(advantages[is_valid]).max()
    return np.where(is_valid, advantages, penalty).astype(np.float32)


def learnability(agreement: np.ndarray) -> np.ndarray:
    """1 - |2p - 1|: highest where half of the solver's answers agree with the teacher's."""
    return 1.0 - np.abs(2.0 * agreement - 1.0)


def r_zero(majority: np.ndarray, repetition: np.ndarray) -> np.ndarray:
    """min(p, 1 - p) - repetition penalty (R-Zero, arXiv 2508.05004); p is the majority answer's share."""
    return np.minimum(majority, 1.0 - majority) - repetition


def absolute_zero(agreement: np.ndarray) -> np.ndarray:
    """1 - p where p > 0, else 0 (Absolute Zero, arXiv 2505.03335)."""
    return np.where(agreement > 0, 1.0 - agreement, 0.0)
