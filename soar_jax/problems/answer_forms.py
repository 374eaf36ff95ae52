"""Finds benchmarks whose answers no student can give, since they are sentences or of a form that is never extracted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from soar_jax.grading.grader import Grader, Verdict
from soar_jax.types import Problem

NUM_CHECKED = 100
# How students write an answer for each format; one of a user's is not judged.
_WRITINGS = {"boxed": r"\boxed{{{}}}", "hash_marks": "#### {}", "after_equals": "= {}", "last_number": "{}"}
_WORD = re.compile(r"(?<![\\a-zA-Z])[^\W\d_]{2,}")  # no TeX command
_MAX_WORDS, _MAX_WORDS_BESIDE_MATHS = 8, 2
_MAX_SHOWN_CHARACTERS = 60


def describe_impossible_answers(problems: Sequence[Problem], grader: Grader) -> str:
    """Returns one line if none of the first NUM_CHECKED answers could be right by its form; else an empty text.

    The form is right if the answer is no sentence, and the grader extracts it, or an equal one, where a student writes
    it.
    """
    checked = problems[:NUM_CHECKED]
    if not checked or not set(grader.extraction) <= _WRITINGS.keys():
        return ""
    pairs: list[tuple[str, str]] = []  # what is extracted, and the answer
    for answer in (problem.answer for problem in checked):
        if _is_sentence(answer):
            continue
        texts = [grader.answer(_WRITINGS[name].format(answer)) for name in grader.extraction]
        if " ".join(answer.split()) in texts:
            return ""
        pairs += [(text, answer) for text in texts if text]
    verdicts = grader.compare([text for text, _ in pairs], [answer for _, answer in pairs]) if pairs else []
    if Verdict.CORRECT in verdicts:
        return ""
    shown = checked[0].answer[:_MAX_SHOWN_CHARACTERS]
    return (
        f"none of the first {len(checked)} answers, such as {shown!r}, could be right by its form: a student's answer "
        f"is what {', '.join(grader.extraction)} (grading.extraction) finds; is it the right field of a row?"
    )


def _is_sentence(answer: str) -> bool:
    """Whether an answer has more words than a final answer, such as `5 square units` or `even and odd`."""
    num_words = len(_WORD.findall(answer))
    is_mathematical = re.search(r"[\d=\\]", answer) is not None
    return num_words > (_MAX_WORDS_BESIDE_MATHS if is_mathematical else _MAX_WORDS)
