r"""Decides by text, exact numbers and values at a few points whether two final answers are equal.

A comparison has three stages: canonical writing (`writing.py`), the shape of the answer (`reading.py`, `matching.py`),
and its values: here, or else by a computer algebra system in a worker process (`symbolic.py`), where values are
bounded (`bounds.py`). Conventions:

- A unit may be missing on one side; two different units differ (`units.py`). Percent signs and degrees are units.
- Commas may separate thousands; a list may be written without a blank after each comma.
- Mixed numbers are sums. Numbers in another base and times of day are equal only as text.
- Words are compared without case. Names such as `x = 3` or `f(2) = 3` may be missing on one side.
- A list may have any order, a tuple not; neither loses repeated entries, and a set is no tuple or interval.
- An equation equals another one if both sides differ by a constant factor only, or both have the same real roots.
"""

from __future__ import annotations

import re

from soar_jax.grading import bounds, matching, reading, scalars, values, writing
from soar_jax.grading.shapes import Named, Shape, Value, leaves


class QuickJudge:
    """Decides without computer algebra."""

    def values(self, gold: Value, answer: Value) -> bool | None:
        """Compares words, exact numbers, and values at a few points."""
        a, b = gold.text, answer.text
        if scalars.is_words(a) or scalars.is_words(b):
            return scalars.unwrapped(a) == scalars.unwrapped(b)
        x, y = scalars.exact_number(a), scalars.exact_number(b)
        if x is not None and y is not None:
            return x == y
        if any(map(scalars.is_in_base, (a, b))) or any(map(scalars.is_clock_time, (a, b))):
            return False
        if not (bounds.is_bounded(a) and bounds.is_bounded(b)):
            return False
        return values.compare(a, b)

    def is_near(self, exact: Value, rounded: Value) -> bool | None:
        """Compares two constants within a unit of the last decimal of the second, or half of one without decimals."""
        number = scalars.exact_number(rounded.text)
        if number is None or not bounds.is_bounded(exact.text):
            return False
        value = values.value(exact.text)
        return None if value is None else abs(value - number) <= tolerance(rounded.text)

    def relations(self, gold: Shape, answer: Shape) -> bool | None:
        return None if is_bounded(gold) and is_bounded(answer) else False

    def sets(self, gold: Shape, answer: Shape) -> bool | None:
        return None if is_bounded(gold) and is_bounded(answer) else False


def tolerance(text: str) -> float:
    """Returns how far a number may be from the one that it rounds."""
    decimals = text.partition(".")[2]
    return 10.0 ** -len(decimals) if decimals else 0.5


def read(text: str) -> Shape:
    """Returns the shape of an answer."""
    return reading.read(writing.canonical(text))


def are_equal(gold: str, answer: str) -> bool | None:
    """Returns whether two answers are equal; None if only algebra can tell."""
    a, b = writing.canonical(gold), writing.canonical(answer)
    if a == b or _strip_blanks(gold) == _strip_blanks(answer):  # 120,144 may be a list
        return bool(a)
    return matching.match(reading.read(a), reading.read(b), QuickJudge())


def is_readable(answer: str) -> bool | None:
    """Returns whether an answer is a number, words or bounded values; None if only a parser can tell the latter."""
    texts = [value.text for value in leaves(read(answer))]
    if all(scalars.exact_number(text) is not None or _is_ascii_words(text) for text in texts):
        return bool(texts)
    return None if all(bounds.is_bounded(text) or _is_ascii_words(text) for text in texts) else False


def is_bounded(shape: Shape) -> bool:
    """Returns whether all values of an answer are small enough to be evaluated."""
    return all(bounds.is_bounded(value.text) for value in leaves(shape))


def spell(text: str) -> str:
    """Returns one spelling for answers that are equal by their writing, units, and exact numbers."""
    shape = read(text)
    shape = shape.body if isinstance(shape, Named) else shape
    if not isinstance(shape, Value):
        return writing.canonical(text)
    number = scalars.exact_number(shape.text)
    value = scalars.unwrapped(shape.text) if scalars.is_words(shape.text) else shape.text
    return " ".join(filter(None, [value if number is None else str(number), shape.unit and f"\\text{{{shape.unit}}}"]))


def _strip_blanks(text: str) -> str:
    """Removes the blanks after commas."""
    return re.sub(r",\s+", ",", text.strip())


def _is_ascii_words(text: str) -> bool:
    return scalars.is_words(text) and text.isascii()
