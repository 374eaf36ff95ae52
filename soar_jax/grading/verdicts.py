"""Is an answer the reference answer?"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

from soar_jax.grading.extraction import EXTRACTORS


class Verdict(enum.Enum):
    """What became of one answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"  # no final answer in the text


def grade(completion: str, reference: str, extraction: str) -> Verdict:
    """Grades a completion against the reference answer, equal as text after extraction."""
    answer = EXTRACTORS[extraction](completion)
    if answer is None:
        return Verdict.UNPARSABLE
    return Verdict.CORRECT if answer == " ".join(reference.split()) else Verdict.WRONG


def rewards(completions: Sequence[str], references: Sequence[str], extraction: str) -> np.ndarray:
    """Reward 1.0 for each correct completion, else 0.0: [len(completions)] float32."""
    pairs = zip(completions, references, strict=True)
    return np.array([grade(text, reference, extraction) is Verdict.CORRECT for text, reference in pairs], np.float32)
