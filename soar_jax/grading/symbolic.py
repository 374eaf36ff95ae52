"""Equivalence by computer algebra. Runs only in worker processes, since it may hang, crash or exhaust memory."""

from __future__ import annotations

FLOAT_DIGITS = 12  # numbers without an exact form are equal if they agree to this many digits


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


def _parse(text: str) -> list[object]:
    """Parses an expression; an empty list if it is none."""
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=-1)]
    return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
