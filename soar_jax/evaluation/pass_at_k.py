"""Pass@k from repeated samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pass_at_k(num_correct: np.ndarray, num_samples: int, k: int) -> np.ndarray:
    """Unbiased estimate of the probability that at least one of k samples is correct.

    1 - C(n-c, k) / C(n, k) for c correct samples out of n (arXiv 2107.03374), computed as a running product, which
    does not overflow.

    Args:
      num_correct: c of each problem, [...] int.
      num_samples: n.
      k: at most n.

    Returns:
      [...] float64.

    Raises:
      ValueError: k is larger than n.
    """
    if k > num_samples:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem; there are {num_samples}")
    num_correct = np.asarray(num_correct)
    draws = np.arange(k)
    wrong_left = np.clip(num_samples - num_correct[..., None] - draws, 0, None)
    return 1.0 - np.prod(wrong_left / (num_samples - draws), axis=-1)


def summarize(num_correct: np.ndarray, num_samples: int, ks: Sequence[int]) -> dict[str, float | int]:
    """Mean pass@k over problems for every k, and the number of problems."""
    table: dict[str, float | int] = {f"pass@{k}": float(pass_at_k(num_correct, num_samples, k).mean()) for k in ks}
    return table | {"num_problems": int(np.size(num_correct))}
