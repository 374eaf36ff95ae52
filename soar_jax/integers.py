"""Integer arithmetic."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """`a / b`, rounded up; `b` is positive."""
    return -(-a // b)
