"""Interleaves the sides of a comparison, so that a slow moment of the machine affects all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

T = TypeVar("T")
Name = TypeVar("Name", bound=Hashable)


def interleave(sides: Mapping[Name, Callable[[int], T]], rounds: int) -> dict[Name, list[T]]:
    """Calls every side once to warm up and compile, then in turn: A B C A B C.

    Args:
      sides: functions of the round's number; the warm-up is round 0.
      rounds: number of counted rounds.

    Returns:
      The results of each side, one per counted round.
    """
    for side in sides.values():
        side(0)
    found: dict[Name, list[T]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, side in sides.items():
            found[name].append(side(number))
    return found


def median(values: list[float]) -> float:
    """Returns the median."""
    return statistics.median(values)


def spread(values: list[float]) -> str:
    """Formats the range of values for a table."""
    return f"{shown(min(values))} to {shown(max(values))}"


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Returns the median over rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def shown(value: object) -> str:
    """Formats a value for a table: floats with three or four digits."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
