"""Reads gold answers: values of a data set's rows, and the final answers of worked solutions."""

from __future__ import annotations

import math
import numbers

from soar_jax.grading.extraction import MAX_SEARCHED_CHARACTERS, boxed, hash_marks

_MARKS = ("\\boxed", "\\fbox")


def value_text(value: object) -> str | None:
    """Returns a text or finite number of a row as text; None for other values, such as true, NaN, lists and objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    return str(value) if isinstance(value, numbers.Integral) or math.isfinite(value) else None


def gold_answer(text: str) -> str:
    """Returns the final answer of a worked solution: its last box, or the line after `####`; or else the text itself.

    A box that does not end leaves no answer: the result is empty.
    """
    if _last_mark(text) >= 0:
        return boxed(text) or ""
    found = hash_marks(text)
    return text if found is None else found


def boxes(text: str) -> list[str]:
    """Returns the different boxes of a text, the last first, up to one that does not end."""
    text = text[-MAX_SEARCHED_CHARACTERS:]
    found: dict[str, str] = {}  # by their text without blanks
    while (place := _last_mark(text)) >= 0 and (box := boxed(text)) is not None:
        found.setdefault("".join(box.split()), box)
        text = text[:place]
    return list(found.values())


def _last_mark(text: str) -> int:
    return max(map(text.rfind, _MARKS))
