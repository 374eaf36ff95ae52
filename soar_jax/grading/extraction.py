"""What a model wrote: final answers, questions. Model text is hostile input: it is only searched."""

from __future__ import annotations

from collections.abc import Callable

from soar_jax.types import QuestionAnswer

MAX_ANSWER_CHARACTERS = 1000  # a longer "answer" is none
MAX_QUESTION_CHARACTERS = 4000


def after_equals(text: str) -> str | None:
    """What stands behind the last equals sign, blanks normalised; None where there is nothing."""
    _, mark, tail = text.rpartition("=")
    answer = " ".join(tail.split()) if len(tail) <= MAX_ANSWER_CHARACTERS else ""
    return answer if mark and answer else None


EXTRACTORS: dict[str, Callable[[str], str | None]] = {"after_equals": after_equals}


def question_and_answer(completion: str, question_end: str, extraction: str) -> QuestionAnswer | None:
    """The pair in a teacher's completion: the question, `question_end`, and text with a final answer.

    None where there is no such pair.
    """
    question, mark, rest = completion.partition(question_end)
    question = question.strip()
    answer = EXTRACTORS[extraction](rest) if mark else None
    if not question or len(question) > MAX_QUESTION_CHARACTERS or answer is None:
        return None
    return QuestionAnswer(question, answer)
