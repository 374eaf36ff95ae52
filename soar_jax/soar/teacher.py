"""The teacher: writes question-answer pairs, and learns from what they did for students."""

from __future__ import annotations

import dataclasses

import numpy as np

from soar_jax.grading.extraction import question_and_answer
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

    def training_items(self, dataset: int) -> tuple[int, ...]:
        """Indices of the items that students of a dataset train on: the parsable ones."""
        return tuple(index for index, item in enumerate(self.items[dataset]) if item is not None)


def cut(
    rollouts: RolloutBatch, texts: list[str], num_datasets: int, question_end: str, extraction: str
) -> Datasets:
    """Parses g * n completions and cuts them into g datasets in order (paper: outer loop, steps 1 and 2)."""
    parsed = [question_and_answer(text, question_end, extraction) for text in texts]
    size = len(parsed) // num_datasets
    items = tuple(tuple(parsed[k * size : (k + 1) * size]) for k in range(num_datasets))
    return Datasets(rollouts, items)
