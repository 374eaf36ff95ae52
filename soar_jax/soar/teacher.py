"""What the teacher wrote in one outer step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.types import QuestionAnswer, RolloutBatch


@dataclasses.dataclass(frozen=True)
class Datasets:
    """The teacher's rollouts of one outer step, cut into g datasets of n."""

    rollouts: RolloutBatch  # g * n rows; dataset k has rows k*n .. k*n + n-1
    items: tuple[tuple[QuestionAnswer | None, ...], ...]  # [g][n]; None where nothing could be parsed

    @property
    def is_valid(self) -> np.ndarray:
        """[g, n] bool."""
        return np.array([[item is not None for item in dataset] for dataset in self.items])


def cut(rollouts: RolloutBatch, items: Sequence[QuestionAnswer | None], num_datasets: int) -> Datasets:
    """Cuts g * n parsed rollouts into g datasets in order (paper: outer loop, step 2)."""
    size = len(items) // num_datasets
    return Datasets(rollouts, tuple(tuple(items[k * size : (k + 1) * size]) for k in range(num_datasets)))
