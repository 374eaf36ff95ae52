"""Equivalence by computer algebra. Runs only in worker processes, since it may hang, crash or exhaust memory."""

from __future__ import annotations

import random

FLOAT_DIGITS = 12  # numbers without an exact form are equal if they agree to this many digits
# Pairs of common kinds: the first of a kind takes about ten times as long as the next.
_WARM_UP = (
    ("x+1", "1+x"),
    ("x^2+5x+6", "(x+2)(x+3)"),
    (r"2\sqrt{2}", r"\sqrt{8}"),
    (r"\frac{1}{2}+x", "x+0.5"),
    (r"\sin(2x)", r"2\sin x\cos x"),
    (r"\tan^2(y)+1", r"\sec^2(y)"),
    (r"[1,3)\cup(3,\infty)", r"(-\infty,-1)"),
    (r"\{1, 2\}", "[1, 2]"),
    ("(0.5, 3)", r"(\frac{1}{2}, 3)"),
    (r"-2 \le x<7", "[-2, 7)"),
    ("x^2+ax+b=0", "x^2+ax+c=0"),
    ("(p, q)=(3, 2)", "(3, 2)"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
    ("1/x", "x^{-1}"),
    (r"\log_2 8+\ln x", r"3+\ln x"),
    (r"\sqrt[3]{8}\pi r^2", r"2 \pi r^{2}"),
    ("x=3", "x=4"),
    (r"5!+\binom{5}{2}", "130"),
    (r"e^{i\pi}+3i", "3i-1"),
    ("|x-1|", "|1-x|"),
    (r"\frac{1+\sqrt{5}}{2}", "1.618"),
)


def are_algebraically_equal(gold: str, answer: str) -> bool:
    """Compares two LaTeX expressions with math-verify, in both orders.

    Both must be bounded (`equivalence.is_bounded`). They are parsed by the LaTeX grammar alone.
    """
    from math_verify import verify

    first, second = _parse(gold), _parse(answer)
    return bool(first and second) and all(
        verify(a, b, float_rounding=FLOAT_DIGITS, timeout_seconds=None) for a, b in ((first, second), (second, first))
    )


def is_parsable(text: str) -> bool:
    """Returns whether math-verify can parse a bounded LaTeX expression, by the LaTeX grammar alone."""
    return bool(_parse(text))


def warm_up() -> None:
    """Imports the libraries, and fills the caches of their parser and simplifier."""
    for pair in _WARM_UP:
        are_algebraically_equal(*pair)


def seed() -> None:
    """Seeds the random generators that sympy draws from, which start from the clock otherwise."""
    from sympy.core import random as sympy_random

    random.seed(0)
    sympy_random.seed(0)


def _parse(text: str) -> list[object]:
    """Parses an expression; an empty list if it is none."""
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=-1)]
    return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
