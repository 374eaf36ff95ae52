r"""Equivalence by computer algebra. Runs only in worker processes, since it may hang, crash or exhaust memory.

Values are parsed by the LaTeX grammar of Math-Verify and compared at a few points; Math-Verify itself decides where no
point tells. Decimals are exact fractions, except that a number with decimals equals one without an exact form that
agrees to 12 digits.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator
from typing import Any

from soar_jax.grading import equivalence, matching, reading, scalars
from soar_jax.grading.shapes import Chain, Interval, Kind, Named, Shape, Value, leaves

FLOAT_DIGITS = 12  # numbers without an exact form are equal if they agree to this many digits
PRECISION = 50  # digits of a value at a point
# Points at which two expressions with letters must agree: the fewest that have a value, and the most that are tried.
MIN_POINTS, ENOUGH_POINTS = 2, 5
Expression = Any  # sympy has no types

# Numbers that letters stand for, by their order; each row is tried.
_POINTS = (
    ("37/29", "53/31", "71/59", "97/73", "83/61", "101/67"),
    ("5/13", "31/17", "43/47", "11/19", "7/23", "29/41"),
    ("31/3", "17/5", "9/8", "3/7", "1/6", "1/20"),
    ("40", "11", "3", "1/2", "1/9", "1/50"),
    ("1/40", "1/7", "8/9", "7/2", "31/3", "53/2"),
    ("4", "3", "7", "2", "5", "6"),
    ("7", "2", "3", "5", "4", "8"),
)
_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)(?![\d.])|(?<![\d.])(\d+)\.(?!\d)")
_SHORT_DETERMINANT = re.compile(
    r"(?:\||\\det ?\(?)(\\begin\{)(?:array\}\{[a-z|]*|[bp]?matrix)\}(.*?)\\end\{[a-z]+\}[|)]?"
)
_ARRAY = re.compile(r"[\[(]?\\begin\{(?:array\}\{[a-z|]*|[bp]?matrix|smallmatrix)\}(.*?)\\end\{[a-z]+\}[\])]?")

# Pairs of common kinds: the first of a kind takes about ten times as long as the next.
_WARM_UP = (
    ("x+1", "1+x"),
    (r"\frac{n!}{2}", r"\frac{1}{2}n!"),
    (r"\frac{1+i\sqrt{7}}{2}", "x"),
    (r"\sin(2x)", r"2\sin x\cos x"),
    (r"\tan^2(y)+1", r"\sec^2(y)"),
    (r"[1,3)\cup(3,\infty)", r"(-\infty,-1)\cup(-1,2)"),
    (r"x^2<4", "(-2,2)"),
    ("x^2+ax+b=0", "x^2+ax+c=0"),
    ("x^2=4", "|x|=2"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
    (r"\log_2 8+\ln x", r"3+\ln x"),
    (r"\sqrt[3]{8}\pi r^2", r"2 \pi r^{2}"),
    (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
    (r"\lfloor x\rfloor", "x"),
    (r"\sqrt{2}", "1.41421356237"),
)


def are_algebraically_equal(gold: str, answer: str) -> bool:
    """Compares two answers in their canonical spelling; their values must be bounded (`bounds.py`)."""
    return bool(matching.match(reading.read(gold), reading.read(answer), AlgebraJudge()))


def is_parsable(text: str) -> bool:
    """Returns whether all values of an answer in its canonical spelling can be parsed."""
    values = list(leaves(reading.read(text)))
    for value in values:
        if not scalars.is_words(value.text):
            parse(value.text)
    return bool(values)


def warm_up() -> None:
    """Imports the libraries, and fills the caches of their parser and simplifier."""
    from soar_jax.grading.writing import canonical

    for gold, answer in _WARM_UP:
        are_algebraically_equal(canonical(gold), canonical(answer))


def seed() -> None:
    """Seeds the random generators that sympy draws from, which start from the clock otherwise."""
    from sympy.core import random as sympy_random

    random.seed(0)
    sympy_random.seed(0)


@functools.lru_cache(maxsize=512)
def parse(text: str) -> Expression:
    """Parses a value with exact numbers.

    Raises:
      Exception: the text is no expression; the parser raises many kinds.
    """
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
    from sympy import I, Symbol

    text = _SHORT_DETERMINANT.sub(r"\1vmatrix}\2\\end{vmatrix}", text)
    text = _ARRAY.sub(r"\\begin{pmatrix}\1\\end{pmatrix}", text) if "vmatrix" not in text else text
    text = re.sub(r"\\\\(?=\\end)", "", _DECIMAL.sub(_write_decimal, text))
    config = ConversionConfig(lowercase_symbols=False)
    found = latex2sympy(text, is_real=True, normalization_config=None, conversion_config=config)
    if found is None or isinstance(found, (list, tuple)):
        raise ValueError(f"no expression: {text}")
    found = found.doit() if hasattr(found, "doit") else found
    return found.subs(Symbol("i", real=True), I)


def _write_decimal(number: re.Match[str]) -> str:
    whole, decimals, alone = number.groups()
    return alone or f"\\frac{{{int((whole or '0') + decimals)}}}{{{10 ** len(decimals)}}}"


class AlgebraJudge(equivalence.QuickJudge):
    """Decides with sympy what the quick judge does not."""

    def values(self, gold: Value, answer: Value) -> bool:
        known = super().values(gold, answer)
        if known is not None:
            return known
        has_decimal = any(re.search(r"\d\.\d", value.text) for value in (gold, answer))
        return _are_equal(parse(gold.text), parse(answer.text), has_decimal)

    def is_near(self, exact: Value, rounded: Value) -> bool:
        number = scalars.exact_number(rounded.text)
        value = parse(exact.text)
        if number is None or value.free_symbols:
            return False
        return bool(abs(value.evalf() - number) <= equivalence.tolerance(rounded.text))

    def relations(self, gold: Shape, answer: Shape) -> bool:
        first, second = _relation(gold), _relation(answer)
        if first is None or second is None:
            return _same_sets(gold, answer)
        (a, sign_a), (b, sign_b) = first, second
        if sign_a != sign_b or not a.free_symbols or a.free_symbols != b.free_symbols:
            return False
        return _are_proportional(a, b, sign_a) or (len(a.free_symbols) == 1 and _have_same_solutions(a, b, sign_a))

    def sets(self, gold: Shape, answer: Shape) -> bool:
        return _same_sets(gold, answer)


def _are_equal(a: Expression, b: Expression, has_decimal: bool) -> bool:
    """Compares two expressions or matrices."""
    from sympy import MatrixBase, nan, zoo

    if isinstance(a, MatrixBase) or isinstance(b, MatrixBase):
        if not (isinstance(a, MatrixBase) and isinstance(b, MatrixBase)) or a.shape != b.shape:
            return False
        return all(_are_equal(x, y, has_decimal) for x, y in zip(a, b, strict=True))
    if a.has(nan, zoo) or b.has(nan, zoo):
        return False
    if a == b:
        return True
    if a.is_Rational and b.is_Rational:
        return False
    num_equal = 0
    for is_equal in _verdicts(a, b, 10.0**-FLOAT_DIGITS if has_decimal else 1e-35):
        if not is_equal:
            return False
        num_equal += 1
        if num_equal == ENOUGH_POINTS:
            return True
    is_constant = not (a.free_symbols | b.free_symbols)
    return num_equal >= (1 if is_constant else MIN_POINTS) or (num_equal == 0 and _verify(a, b))


def _verify(a: Expression, b: Expression) -> bool:
    from math_verify import verify

    return all(verify(x, y, float_rounding=FLOAT_DIGITS, timeout_seconds=None) for x, y in ((a, b), (b, a)))


def _verdicts(a: Expression, b: Expression, tolerance: float) -> Iterator[bool]:
    """Yields whether two expressions agree, at each point where both have a value.

    Unless they have an imaginary unit, only real values count.
    """
    from sympy import I

    is_complex = a.has(I) or b.has(I)
    for values in _at_points((a, b)):
        if any(value is None or (not is_complex and value.imag) for value in values):
            continue
        x, y = values
        yield abs(x - y) <= tolerance * max(abs(x), abs(y))


def _at_points(expressions: tuple[Expression, ...]) -> Iterator[list[Any]]:
    """Yields the values of expressions at each point, as numbers of mpmath; None for one without a value."""
    from sympy import Rational

    letters = sorted(set().union(*(expression.free_symbols for expression in expressions)), key=str)
    if not letters:
        yield [_number(expression) for expression in expressions]
        return
    points = [{a: Rational(row[i % len(row)]) + i // len(row) for i, a in enumerate(letters)} for row in _POINTS]
    negative = [points[0] | {letter: -points[0][letter]} for letter in letters]
    for point in points[:1] + negative[: ENOUGH_POINTS - 2] + points[1:]:
        yield [_number(item.subs(point)) if _is_defined(item, point) else None for item in expressions]


def _is_defined(expression: Expression, point: dict[Expression, Expression]) -> bool:
    """Returns whether no root or logarithm of a negative number is taken at a point."""
    from sympy import Pow, log

    powers = [power.base for power in expression.atoms(Pow) if not power.exp.is_integer and power.base.free_symbols]
    logarithms = [call.args[0] for call in expression.atoms(log) if call.args[0].free_symbols]
    return not any(inner.subs(point).is_negative for inner in powers + logarithms)


def _number(expression: Expression) -> Any:
    """Evaluates a constant; None if it has no finite value."""
    import mpmath

    try:
        value = expression.evalf(PRECISION, maxn=400)
        with mpmath.workdps(PRECISION):
            real, imaginary = (
                mpmath.mpf(part._mpf_) if part.is_Float else mpmath.mpf(int(part)) for part in value.as_real_imag()
            )
            number = mpmath.mpc(real, imaginary if abs(imaginary) > 1e-30 * (1 + abs(real)) else 0)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    return number if mpmath.isfinite(number) else None


def _relation(shape: Shape) -> tuple[Expression, str] | None:
    """Returns the difference of the sides of a relation, without denominators, and its sign; None for a chain."""
    from sympy import fraction, together

    if isinstance(shape, Named) and isinstance(shape.body, Value):
        left, right, sign = parse(shape.name), parse(shape.body.text), "="
    elif isinstance(shape, Chain) and len(shape.parts) == 2 and all(isinstance(part, Value) for part in shape.parts):
        left, right = (parse(part.text) for part in shape.parts)  # type: ignore[union-attr]
        sign = shape.signs[0]
    else:
        return None
    difference = left - right
    return (fraction(together(difference))[0] if sign == "=" else difference), sign


def _are_proportional(a: Expression, b: Expression, sign: str) -> bool:
    """Returns whether two expressions differ by a constant factor, which is positive for an inequality."""
    ratios = []
    for x, y in _at_points((a, b)):
        if x is None or y is None or x.imag or y.imag:
            continue
        if (x == 0) != (y == 0):
            return False
        ratios += [x / y] if y else []
    if len(ratios) < MIN_POINTS or any(abs(ratio - ratios[0]) > 1e-30 * abs(ratios[0]) for ratio in ratios):
        return False
    return sign in ("=", "\\ne") or ratios[0].real > 0


def _have_same_solutions(a: Expression, b: Expression, sign: str) -> bool:
    """Solves two relations in one letter over the real numbers; those without a solution are not equal."""
    from sympy import Abs, Eq, Function, Le, Lt, Ne, S, solveset

    if any(not isinstance(call, Abs) for side in (a, b) for call in side.atoms(Function)):
        return False  # solving takes long, and the solutions of most are periodic
    (letter,) = a.free_symbols
    if sign == "=" and a.is_polynomial(letter) and b.is_polynomial(letter):
        return False  # two polynomials with the same roots need not be the same
    make = {"=": Eq, "<": Lt, "\\le": Le, "\\ne": Ne}.get(sign)
    if make is None:
        return False
    first, second = (solveset(make(side, 0), letter, S.Reals) for side in (a, b))
    return _are_equal_sets(first, second) and first.is_empty is False


def _same_sets(gold: Shape, answer: Shape) -> bool:
    first, second = _set(gold), _set(answer)
    return _are_equal_sets(first, second)


def _are_equal_sets(first: Expression, second: Expression) -> bool:
    return bool(first == second or first.symmetric_difference(second).is_empty)


def _set(shape: Shape) -> Expression:
    """Builds the set of numbers that a shape describes."""
    import sympy

    match shape:
        case Value():
            return sympy.FiniteSet(parse(shape.text))
        case Interval():
            is_open = [bracket in "()" for bracket in shape.brackets]
            return sympy.Interval(_bound(shape.low), _bound(shape.high), *is_open)
        case Named():
            return _set(shape.body)
        case Chain():
            return _solutions(shape)
    entries = [_set(entry) for entry in shape.entries]
    if shape.kind is Kind.DIFFERENCE:
        return sympy.Complement(entries[0], sympy.Union(*entries[1:]))
    return sympy.Intersection(*entries) if shape.kind is Kind.INTERSECTION else sympy.Union(*entries)


def _bound(shape: Shape) -> Expression:
    if not isinstance(shape, Value):
        raise ValueError("a bound of an interval is no number")
    return parse(shape.text)


def _solutions(chain: Chain) -> Expression:
    """Returns the real numbers that fulfil all inequalities of a chain."""
    import sympy

    sides = [_bound(part) for part in chain.parts]
    (letter,) = set().union(*(side.free_symbols for side in sides))
    makers = {"<": sympy.Lt, "\\le": sympy.Le, "\\ne": sympy.Ne}
    found = sympy.S.Reals
    for left, sign, right in zip(sides, chain.signs, sides[1:], strict=False):
        found = sympy.Intersection(found, sympy.solveset(makers[sign](left, right), letter, sympy.S.Reals))
    return found
