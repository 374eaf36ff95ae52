"""Equivalence by computer algebra. Runs in worker processes alone: it may hang, crash or eat memory."""

from __future__ import annotations

FLOAT_DIGITS = 12  # numbers without an exact form are the same when they agree so far


def algebraically_same(gold: str, answer: str) -> bool:
    """Whether two LaTeX expressions are the same thing, in either order of tasks.

    Both must be bounded (`equivalence.is_bounded`). Only the LaTeX grammar is used to read them.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list[object]:
        config = [LatexExtractionConfig(boxed_match_priority=-1)]
        return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)

    first, second = read(gold), read(answer)
    return bool(first and second) and all(
        verify(a, b, float_rounding=FLOAT_DIGITS, timeout_seconds=None) for a, b in ((first, second), (second, first))
    )
