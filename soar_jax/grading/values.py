r"""Compares two expressions cheaply: evaluates both at a few points, exactly or in interval arithmetic.

Most pairs are decided here, since a computer algebra system takes a hundred times longer. Only unambiguous text is
parsed: numbers, letters, `+ - * /`, powers, `\frac`, `\sqrt`, `\pi`, `\log`, `\sin` and the like, and brackets.

Letters stand for fractions. Without roots and functions, values are exact, so polynomials that agree at the points are
equal. Otherwise they are intervals of 400 bits: those that do not overlap differ, and narrow ones that overlap at all
points are equal, since expressions as short as answers do not come so close by chance.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mpmath import iv

iv.prec = 400  # bits
Interval = Any  # mpmath has no types
Number = Any  # a Fraction or an interval
MAX_EXPONENT = 5000
MIN_POINTS = 2  # at which expressions with letters agree; they may have no value at another
MAX_EXACT_BITS = 20_000  # of a numerator or denominator; a larger number becomes an interval
MAX_FACTORIAL = 200
MIN_DIFFERENCE = 1e-8  # relative; larger than rounding of an answer explains
MAX_WIDTH = 2.0**-200  # relative, of intervals that count as equal if they overlap

# The value of a letter at each point is a power of its place in the alphabet. So letters are close to each other at
# some points and far apart at others, in both orders. At further points one letter is negative: only one, since answers
# with roots of products mean letters of one sign.
_POWERS = (1, -4, 4, -6)
_POWER_BESIDE_NEGATIVE = 2
_UNIT_PLACE = 101  # of the letter e, which is a constant
_TOKEN = re.compile(
    r"\\[A-Za-z]+|\d+\.?\d*|\.\d+|[A-Za-z](?:_\{\w+\})?|[+\-*/^(){}\[\]|!_]|\s+|(?P<unknown>.)", re.DOTALL
)
_NUMBER = re.compile(r"[\d.]+")
_LETTER = re.compile(r"[A-Za-z](?:_\{\w+\})?")
_GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|phi|chi|psi|omega|Delta|Omega"
)
_GREEK_LETTERS = _GREEK.split("|")
_SYMBOL = re.compile(rf"{_LETTER.pattern}|\\(?:{_GREEK})")
_TIMES = ("*", "\\cdot")
_FUNCTIONS: dict[str, Callable[[Interval], Interval]] = {
    "\\sin": iv.sin, "\\cos": iv.cos, "\\tan": iv.tan, "\\exp": iv.exp,
    "\\ln": lambda x: iv.log(_positive(x)), "\\log": lambda x: iv.log(_positive(x)) / iv.log(10),
}  # fmt: skip
_FACTOR_START = re.compile(rf"\(|{_SYMBOL.pattern}|\\(?:frac|sqrt|pi|sin|cos|tan|ln|log|exp)")
_AFTER_ARGUMENT = ("", "+", "-", ")", "}", "|")  # follows a function's argument without brackets


class _UnsupportedError(Exception):
    """The text cannot be parsed, or has no value."""


def compare(first: str, second: str) -> bool | None:
    """Returns whether two bounded LaTeX expressions are equal; None if unknown."""
    letters = _letters(first) | _letters(second)
    if not letters:
        return _compare_values(_value(first, 1), _value(second, 1))
    num_equal = 0
    points = [(power, "") for power in _POWERS] + [(_POWER_BESIDE_NEGATIVE, letter) for letter in sorted(letters)]
    for point in points:
        verdict = _compare_values(_value(first, *point), _value(second, *point))
        if verdict is False:
            return False
        num_equal += verdict is True
    return True if num_equal >= MIN_POINTS else None


def value(text: str) -> float | None:
    """Returns the value of a bounded constant; None if it has letters or cannot be parsed."""
    number = None if _letters(text) else _value(text, 1)
    if number is None:
        return None
    return float(number) if isinstance(number, Fraction) else float(number.mid)


@functools.lru_cache(maxsize=8192)
def _value(text: str, power: int, negative: str = "") -> Number | None:
    """Evaluates an expression at a point; None if it has no value there.

    Args:
      power: of the place of each letter, which is its value.
      negative: a letter that has a negative value.
    """
    try:
        parser = _Parser(text, power, negative)
        value = parser.sum()
        return value if parser.position == len(parser.tokens) else None
    except (_UnsupportedError, ArithmeticError, ValueError, RecursionError):
        return None


@functools.lru_cache(maxsize=8192)
def _letters(text: str) -> frozenset[str]:
    """Returns the letters of a text that are no constants."""
    tokens = (token[0] for token in _TOKEN.finditer(text))
    return frozenset(token for token in tokens if token != "e" and _SYMBOL.fullmatch(token))


def _compare_values(a: Number | None, b: Number | None) -> bool | None:
    if a is None or b is None:
        return None
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b = _interval(a), _interval(b)
    low_a, high_a, low_b, high_b = (iv.mpf(bound) for bound in (a.a, a.b, b.a, b.b))
    size = max(abs(float(bound.mid)) for bound in (low_a, high_a, low_b, high_b))
    if not 0 < size < float("inf"):
        return True if size == 0 else None
    gap = max(float((low_a - high_b).mid), float((low_b - high_a).mid))
    if gap > 0:
        return False if gap > MIN_DIFFERENCE * size else None
    return True if max(float(a.delta.b), float(b.delta.b)) < MAX_WIDTH * size else None


def _interval(number: Number) -> Interval:
    return iv.mpf(number.numerator) / iv.mpf(number.denominator) if isinstance(number, Fraction) else number


def _letter(name: str, power: int) -> Number:
    """Returns the value of a letter: not special in any answer."""
    if name == "e":
        return iv.exp(1)
    if name in ("i", "I"):
        raise _UnsupportedError
    return Fraction(_place(name), _UNIT_PLACE) ** power


@functools.lru_cache(maxsize=1024)
def _place(name: str) -> int:
    if len(name) == 1:
        return ord(name)
    if name[1:] in _GREEK_LETTERS:
        return 130 + _GREEK_LETTERS.index(name[1:])
    return 170 + zlib.crc32(name.encode()) % 997


def _binary(operate: Callable[[Any, Any], Any], a: Number, b: Number) -> Number:
    """Calculates with two numbers: exactly, unless one is an interval or large."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        result = operate(a, b)
        if max(result.numerator.bit_length(), result.denominator.bit_length()) <= MAX_EXACT_BITS:
            return result
        return _interval(result)
    return operate(_interval(a), _interval(b))


class _Parser:
    """Recursive descent over sums of products of powers; the caller bounds depth and length."""

    def __init__(self, text: str, power: int, negative: str) -> None:
        matches = list(_TOKEN.finditer(text))
        if any(match["unknown"] for match in matches):
            raise _UnsupportedError
        self.tokens = [match[0] for match in matches if not match[0].isspace()]
        self.position, self.letter_power, self.negative = 0, power, negative

    def sum(self) -> Number:
        value = -self.product() if self.take("-", "+") == "-" else self.product()
        while sign := self.take("+", "-"):
            term = self.product()
            value = _binary(lambda a, b: a + b, value, term if sign == "+" else -term)
        return value

    def product(self) -> Number:
        value, divided = self.power(), False
        while True:
            if self.take(*_TIMES):
                value = self.times(value, self.signed_power())
            elif self.take("/", "\\div"):
                value, divided = _divide(value, self.power()), True
            elif _FACTOR_START.fullmatch(self.next()):
                before = self.tokens[self.position - 1]
                if divided or (self.next() == "\\frac" and _NUMBER.fullmatch(before)):
                    raise _UnsupportedError  # 1/2x and 3\frac12 are ambiguous
                value = self.times(value, self.power())
            else:
                return value

    def times(self, a: Number, b: Number) -> Number:
        return _binary(lambda x, y: x * y, a, b)

    def signed_power(self) -> Number:
        return -self.power() if self.take("-") else self.power()

    def power(self) -> Number:
        base = self.atom()
        while self.take("!"):
            base = _factorial(base)
        if not self.take("^"):
            return base
        return _power(base, self.braced())

    def atom(self) -> Number:
        token = self.take_any()
        if _NUMBER.fullmatch(token):
            return Fraction(token)
        if _SYMBOL.fullmatch(token):
            if self.next() == "(" and len(token) == 1 and token in "fghFGHPQ":
                raise _UnsupportedError  # a function or a product
            return _letter(token, self.letter_power) * (-1 if token == self.negative else 1)
        if token in ("(", "|"):
            value = self.sum()
            self.expect(")" if token == "(" else "|")
            return abs(value) if token == "|" else value
        if token == "{":
            self.position -= 1
            return self.braced()
        if token == "\\pi":
            return +iv.pi
        if token == "\\frac":
            return _divide(self.braced(), self.braced())
        if token == "\\sqrt":
            return self.root()
        if token in _FUNCTIONS:
            return self.function(token)
        raise _UnsupportedError

    def root(self) -> Number:
        degree = Fraction(2)
        if self.take("["):
            degree = self.sum()
            self.expect("]")
        if not isinstance(degree, Fraction) or degree.denominator != 1 or not 2 <= degree <= MAX_EXPONENT:
            raise _UnsupportedError
        content = _interval(self.braced())
        if content.b < 0 and degree % 2:
            return -_real_power(-content, iv.mpf(1) / iv.mpf(int(degree)))
        if content.a < 0:
            raise _UnsupportedError
        return iv.sqrt(content) if degree == 2 else _real_power(content, iv.mpf(1) / iv.mpf(int(degree)))

    def function(self, name: str) -> Number:
        base = None
        if name == "\\log" and self.take("_"):
            base = _interval(self.braced())
        argument = self.atom() if self.next() in ("(", "{") else self.power()
        if self.next() not in _AFTER_ARGUMENT:
            raise _UnsupportedError  # \sin x y and \ln(x)^2 are ambiguous
        value = _interval(argument)
        return iv.log(_positive(value)) / iv.log(_positive(base)) if base is not None else _FUNCTIONS[name](value)

    def braced(self) -> Number:
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


def _divide(a: Number, b: Number) -> Number:
    if isinstance(b, Fraction) and b == 0:
        raise _UnsupportedError
    return _binary(lambda x, y: x / (y if isinstance(y, Fraction) else _not_zero(y)), a, b)


def _not_zero(value: Interval) -> Interval:
    if value.a <= 0 <= value.b:
        raise _UnsupportedError
    return value


def _positive(value: Interval) -> Interval:
    if value.a <= 0:
        raise _UnsupportedError
    return value


def _factorial(value: Number) -> Fraction:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        raise _UnsupportedError
    product = 1
    for factor in range(2, int(value) + 1):
        product *= factor
    return Fraction(product)


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        if abs(exponent) > MAX_EXPONENT:
            raise _UnsupportedError
        whole = int(exponent)
        if isinstance(base, Fraction):
            if whole < 0 and base == 0:
                raise _UnsupportedError
            if max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(whole) <= MAX_EXACT_BITS:
                return base**whole
            base = _interval(base)
        return base**whole if whole >= 0 else 1 / _not_zero(base**-whole)
    return _real_power(_interval(base), _interval(exponent))


def _real_power(base: Interval, exponent: Interval) -> Interval:
    if base.a <= 0 or not (abs(exponent.a) <= MAX_EXPONENT and abs(exponent.b) <= MAX_EXPONENT):
        raise _UnsupportedError  # ambiguous: a complex number or the real root
    return iv.exp(exponent * iv.log(base))
