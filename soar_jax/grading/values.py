r"""Cheap proof that two expressions differ: their values at one point, in interval arithmetic.

Most wrong answers are plainly wrong, and a computer algebra system takes a hundred times longer to say so. Only what
has one reading is read: numbers, one-letter variables, `+ - * /`, powers, `\frac`, `\sqrt`, `\pi`, brackets, and
tuples of these. Of anything else nothing is said.
"""

from __future__ import annotations

import re
from typing import Any

from mpmath import iv

iv.prec = 120  # bits
Interval = Any  # mpmath's, which has no types
MAX_EXPONENT = 2000
CLEARLY = 1e-8  # relative difference that no rounding of an answer explains

_TOKEN = re.compile(r"\\[a-z]+|\d+\.?\d*|\.\d+|[A-Za-z+\-*/^(){},]|\s+|(?P<unknown>.)", re.DOTALL)
_NUMBER = re.compile(r"[\d.]+")
_TIMES = ("*", "\\cdot", "\\times")
_STARTS_A_FACTOR = re.compile(r"[A-Za-z(]|\\(?:frac|sqrt|pi)")


class _UnreadError(Exception):
    """The text is not of the small language, or has no value."""


def clearly_differ(first: str, second: str) -> bool:
    """Whether two LaTeX expressions surely are not the same; False where that is not known.

    Both must be bounded (`equivalence.is_bounded`).
    """
    try:
        a, b = _values(first), _values(second)
        return len(a) != len(b) or any(_apart(x, y) for x, y in zip(a, b, strict=True))
    except (_UnreadError, ArithmeticError, ValueError):
        return False


def _values(text: str) -> list[Interval]:
    """The value of an expression, or of each part of a tuple."""
    reader = _Reader(text)
    if text.startswith("(") and "," in text:
        return reader.tuple()
    return [reader.all()]


def _apart(a: Interval, b: Interval) -> bool:
    size = max(abs(bound) for bound in (float(a.a), float(a.b), float(b.a), float(b.b)))
    gap = max(float(a.a) - float(b.b), float(b.a) - float(a.b))
    return 0 < size < float("inf") and gap > CLEARLY * size


def _at(letter: str) -> Interval:
    """Where a variable is tried: a positive number that no answer singles out."""
    if letter == "e":
        return iv.exp(1)
    if letter in "iI":
        raise _UnreadError
    return iv.mpf(1) + iv.mpf(ord(letter)) / iv.mpf(97.3)


class _Reader:
    """Recursive descent: sum of products of powers; depth and length are bounded by the caller."""

    def __init__(self, text: str) -> None:
        matches = list(_TOKEN.finditer(text))
        if any(match["unknown"] for match in matches):
            raise _UnreadError
        self.tokens = [match[0] for match in matches if not match[0].isspace()]
        self.place = 0

    def all(self) -> Interval:
        value = self.sum()
        if self.place != len(self.tokens):
            raise _UnreadError
        return value

    def tuple(self) -> list[Interval]:
        self.expect("(")
        values = [self.sum()]
        while self.take(","):
            values.append(self.sum())
        self.expect(")")
        if self.place != len(self.tokens):
            raise _UnreadError
        return values

    def sum(self) -> Interval:
        value = -self.product() if self.take("-", "+") == "-" else self.product()
        while sign := self.take("+", "-"):
            term = self.product()
            value = value + term if sign == "+" else value - term
        return value

    def product(self) -> Interval:
        value, divided = self.power(), False
        while True:
            if self.take(*_TIMES):
                value = value * self.power()
            elif self.take("/"):
                value, divided = value / _not_zero(self.power()), True
            elif _STARTS_A_FACTOR.fullmatch(self.next()):
                before = self.tokens[self.place - 1]
                if divided or (self.next() == "\\frac" and _NUMBER.fullmatch(before)):
                    raise _UnreadError  # 1/2x and 3\frac12 are read in two ways
                value = value * self.power()
            else:
                return value

    def power(self) -> Interval:
        base = self.atom()
        if not self.take("^"):
            return base
        if self.next() == "{":
            return _raised(base, self.braced())
        digit = self.take_any()
        if not digit.isdigit() or len(digit) > 1:
            raise _UnreadError
        return base ** int(digit)

    def atom(self) -> Interval:
        token = self.take_any()
        if _NUMBER.fullmatch(token):
            return iv.mpf(token)
        if len(token) == 1 and token.isalpha():
            return _at(token)
        if token == "(":
            value = self.sum()
            self.expect(")")
            return value
        if token == "\\pi":
            return +iv.pi
        if token == "\\frac":
            return self.braced() / _not_zero(self.braced())
        if token == "\\sqrt":
            return iv.sqrt(_not_negative(self.braced()))
        raise _UnreadError

    def braced(self) -> Interval:
        self.expect("{")
        value = self.sum()
        self.expect("}")
        return value

    def next(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take_any(self) -> str:
        token = self.next()
        self.place += 1
        return token

    def take(self, *tokens: str) -> str | None:
        return self.take_any() if self.next() in tokens else None

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise _UnreadError


def _not_zero(value: Interval) -> Interval:
    if value.a <= 0 <= value.b:
        raise _UnreadError
    return value


def _raised(base: Interval, exponent: Interval) -> Interval:
    if not (abs(exponent.a) <= MAX_EXPONENT and abs(exponent.b) <= MAX_EXPONENT):
        raise _UnreadError
    whole = int(exponent.a)
    if exponent.a == exponent.b == whole:
        return base**whole if whole >= 0 else 1 / _not_zero(base**-whole)
    if base.a <= 0:
        raise _UnreadError  # a complex number, or the real root?
    return base**exponent


def _not_negative(value: Interval) -> Interval:
    if value.a < 0:
        raise _UnreadError
    return value
