r"""Proves cheaply that two expressions differ: evaluates both at one point in interval arithmetic.

Most wrong answers are far off, and a computer algebra system takes a hundred times longer. Only unambiguous text is
parsed: numbers, one-letter variables, `+ - * /`, powers, `\frac`, `\sqrt`, `\pi`, brackets, and tuples of these.
"""

from __future__ import annotations

import re
from typing import Any

from mpmath import iv

iv.prec = 120  # bits
Interval = Any  # mpmath has no types
MAX_EXPONENT = 2000
MIN_DIFFERENCE = 1e-8  # relative; larger than rounding of an answer explains

_TOKEN = re.compile(r"\\[a-z]+|\d+\.?\d*|\.\d+|[A-Za-z+\-*/^(){},]|\s+|(?P<unknown>.)", re.DOTALL)
_NUMBER = re.compile(r"[\d.]+")
_TIMES = ("*", "\\cdot", "\\times")
_FACTOR_START = re.compile(r"[A-Za-z(]|\\(?:frac|sqrt|pi)")


class _UnsupportedError(Exception):
    """The text cannot be parsed, or has no value."""


def provably_differ(first: str, second: str) -> bool:
    """Returns whether two LaTeX expressions certainly differ; False if unknown.

    Both must be bounded (`equivalence.is_bounded`).
    """
    try:
        a, b = _values(first), _values(second)
        return len(a) != len(b) or any(_are_apart(x, y) for x, y in zip(a, b, strict=True))
    except (_UnsupportedError, ArithmeticError, ValueError):
        return False


def _values(text: str) -> list[Interval]:
    """Evaluates an expression, or each element of a tuple."""
    parser = _Parser(text)
    values = parser.tuple() if text.startswith("(") and "," in text else [parser.sum()]
    if parser.position != len(parser.tokens):
        raise _UnsupportedError
    return values


def _are_apart(a: Interval, b: Interval) -> bool:
    size = max(abs(bound) for bound in (float(a.a), float(a.b), float(b.a), float(b.b)))
    gap = max(float(a.a) - float(b.b), float(b.a) - float(a.b))
    return 0 < size < float("inf") and gap > MIN_DIFFERENCE * size


def _variable(letter: str) -> Interval:
    """Returns the value of a variable: positive and not special in any answer."""
    if letter == "e":
        return iv.exp(1)
    if letter in "iI":
        raise _UnsupportedError
    return iv.mpf(1) + iv.mpf(ord(letter)) / iv.mpf(97.3)


class _Parser:
    """Recursive descent over sums of products of powers; the caller bounds depth and length."""

    def __init__(self, text: str) -> None:
        matches = list(_TOKEN.finditer(text))
        if any(match["unknown"] for match in matches):
            raise _UnsupportedError
        self.tokens = [match[0] for match in matches if not match[0].isspace()]
        self.position = 0

    def tuple(self) -> list[Interval]:
        self.expect("(")
        values = [self.sum()]
        while self.take(","):
            values.append(self.sum())
        self.expect(")")
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
            elif _FACTOR_START.fullmatch(self.next()):
                before = self.tokens[self.position - 1]
                if divided or (self.next() == "\\frac" and _NUMBER.fullmatch(before)):
                    raise _UnsupportedError  # 1/2x and 3\frac12 are ambiguous
                value = value * self.power()
            else:
                return value

    def power(self) -> Interval:
        base = self.atom()
        if not self.take("^"):
            return base
        if self.next() == "{":
            return _power(base, self.braced())
        digit = self.take_any()
        if not digit.isdigit() or len(digit) > 1:
            raise _UnsupportedError
        return base ** int(digit)

    def atom(self) -> Interval:
        token = self.take_any()
        if _NUMBER.fullmatch(token):
            return iv.mpf(token)
        if len(token) == 1 and token.isalpha():
            return _variable(token)
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
        raise _UnsupportedError

    def braced(self) -> Interval:
        self.expect("{")
        value = self.sum()
        self.expect("}")
        return value

    def next(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take_any(self) -> str:
        token = self.next()
        self.position += 1
        return token

    def take(self, *tokens: str) -> str | None:
        return self.take_any() if self.next() in tokens else None

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise _UnsupportedError


def _not_zero(value: Interval) -> Interval:
    if value.a <= 0 <= value.b:
        raise _UnsupportedError
    return value


def _power(base: Interval, exponent: Interval) -> Interval:
    if not (abs(exponent.a) <= MAX_EXPONENT and abs(exponent.b) <= MAX_EXPONENT):
        raise _UnsupportedError
    whole = int(exponent.a)
    if exponent.a == exponent.b == whole:
        return base**whole if whole >= 0 else 1 / _not_zero(base**-whole)
    if base.a <= 0:
        raise _UnsupportedError  # ambiguous: a complex number or the real root
    return base**exponent


def _not_negative(value: Interval) -> Interval:
    if value.a < 0:
        raise _UnsupportedError
    return value
