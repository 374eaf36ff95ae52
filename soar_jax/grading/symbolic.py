"""Equivalence by computer algebra. Runs only in worker processes, since it may hang, crash or exhaust memory."""

from __future__ import annotations

FLOAT_DIGITS = 12  # numbers without an exact form are equal if they agree to this many digits


def are_algebraically_equal(gold: str, answer: str) -> bool:
    """Compares two LaTeX expressions with math-verify, in both orders.

    Both must be bounded (`equivalence.is_bounded`). They are parsed by the LaTeX grammar alone.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list[object]:
        config = [LatexExtractionConfig(boxed_match_priority=-1)]
        return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)

    first, second = read(gold), read(answer)
    return bool(first and second) and all(
        verify(a, b, float_rounding=FLOAT_DIGITS, timeout_seconds=None) for a, b in ((first, second), (second, first))
    )
