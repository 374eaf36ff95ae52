r"""Single pairs of a gold and a text with an answer, as data sets and users have them.

The last `\boxed{…}` of a text is its answer, or else the text itself. A gold may also be a number, or a solution that
ends with `#### …`.
"""

from __future__ import annotations

from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS, extract
from soar_jax.grading.gold import gold_answer, value_text
from soar_jax.grading.grader import Grader

GRADER = Grader(extraction=("boxed",), equivalence="math")


def read_pair(gold: object, answer: object) -> tuple[str, str | None]:
    """Reads the gold and the final answer of a pair; the answer is None if there is none, or the pair is malformed."""
    gold_text = value_text(gold)
    if gold_text is None or not isinstance(answer, str):
        return "", None
    gold_text = gold_answer(gold_text) or gold_text
    if "\\boxed" in answer or "\\fbox" in answer:
        answer = extract(answer, GRADER.extraction) or ""
    is_too_long = max(len(gold_text), len(answer)) > MAX_ANSWER_CHARACTERS
    return ("", None) if is_too_long or not answer.strip() else (gold_text, answer)
