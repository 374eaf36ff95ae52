"""The kinds of objects that an answer may be: what `reading.py` makes of a text, and `matching.py` compares."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator


class Kind(enum.Enum):
    """Kinds of collections."""

    LIST = "list"  # in any order
    SET = "set"
    TUPLE = "tuple"
    UNION = "union"
    INTERSECTION = "intersection"
    DIFFERENCE = "difference"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Value:
    """A number, an expression, a matrix or words."""

    text: str
    unit: str = ""
    product: str = ""  # the text with its unit, if that may be a variable: `2 m`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collection:
    """Several answers."""

    kind: Kind
    entries: tuple[Shape, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """All numbers between two bounds."""

    low: Shape
    high: Shape
    brackets: str  # "()", "(]", "[)" or "[]"
    variable: str = ""  # of an inequality
    is_pair: bool = False  # `(a,b)` may also be a tuple


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """An answer with a name, such as `x = 3`."""

    name: str
    body: Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chain:
    r"""Values with comparison signs between them; `>` and `\ge` are turned round."""

    parts: tuple[Shape, ...]
    signs: tuple[str, ...]  # "=", "<", "\\le", "\\ne", "\\approx", "\\in" …


Shape = Value | Collection | Interval | Named | Chain

INFINITY, MINUS_INFINITY = Value(text="\\infty"), Value(text="-\\infty")
REALS = Interval(low=MINUS_INFINITY, high=INFINITY, brackets="()")


def leaves(shape: Shape) -> Iterator[Value]:
    """Yields the values that an answer is made of."""
    match shape:
        case Value():
            yield shape
        case Named():
            yield from leaves(shape.body)
        case Interval():
            yield from leaves(shape.low)
            yield from leaves(shape.high)
        case Collection():
            for entry in shape.entries:
                yield from leaves(entry)
        case Chain():
            for part in shape.parts:
                yield from leaves(part)
