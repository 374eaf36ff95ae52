"""Formats prompts for students and teachers, and parses questions from the teacher's text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from soar_jax.config.sections import PromptsSection
from soar_jax.grading.extraction import extract
from soar_jax.types import QuestionAnswer

MAX_QUESTION_CHARACTERS = 4000

_TAGGED = re.compile(
    r"<\s*(question|answer)\s*>(.*?)(?:<\s*/\s*\1\s*>|(?=<\s*(?:question|answer)\s*>)|$)", re.DOTALL | re.I
)
_ANY_TAG = re.compile(r"<\s*/?\s*(?:question|answer)\s*>", re.I)


def student_prompt(settings: PromptsSection, question: str) -> str:
    """Formats a question for a student."""
    return settings.student.replace("{question}", question)


def teacher_prompts(settings: PromptsSection) -> list[str]:
    """Returns the teacher's prompts, one per subject; its rollouts cycle over them."""
    return [settings.teacher.replace("{subject}", subject) for subject in settings.subjects or ("",)]


def parse_question_answer(
    settings: PromptsSection, completion: str, extraction: Sequence[str]
) -> QuestionAnswer | None:
    """Parses the question and answer of a teacher's completion; None if it has no such pair.

    "separator": the question, `question_end`, and text with a final answer. "tags": the last <question> element that an
    <answer> element follows, end tags optional; the answer is extracted from that element, or is its single line.
    """
    if settings.teacher_format == "tags":
        question, rest = _last_tagged_pair(completion)
        answer = extract(rest, extraction) or (rest if "\n" not in rest and len(rest) <= 200 else None)
    else:
        question, mark, rest = completion.partition(settings.question_end)
        answer = extract(rest, extraction) if mark else None
    question = question.strip()
    if not question or len(question) > MAX_QUESTION_CHARACTERS or not answer:
        return None
    return QuestionAnswer(question=question, answer=answer)


def parse_question(settings: PromptsSection, text: str, extraction: Sequence[str]) -> str | None:
    """Parses a question that needs no answer; None if there is none.

    "separator": as in `parse_question_answer`, since a question without an answer was cut short. "tags": the text up to
    the first tag, or else within it.
    """
    if settings.teacher_format == "separator":
        pair = parse_question_answer(settings, text, extraction)
        return pair.question if pair else None
    question = next(filter(None, map(str.strip, _ANY_TAG.split(text))), "")
    return question if 0 < len(question) <= MAX_QUESTION_CHARACTERS else None


def _last_tagged_pair(text: str) -> tuple[str, str]:
    """Returns the last question that an answer follows; a question that was cut short never gets another's answer."""
    question, pair = "", ("", "")
    for name, content in _TAGGED.findall(text):
        if name.lower() == "question":
            question = content
        elif question:
            pair = question, content.strip()
    return pair
