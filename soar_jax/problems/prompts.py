"""Formats prompts for students and teachers, and parses questions from the teacher's text."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence

from soar_jax.config.sections import PromptsSection
from soar_jax.grading.extraction import extract
from soar_jax.types import QuestionAnswer

MAX_QUESTION_CHARACTERS = 4000

_TAGGED = re.compile(
    r"<\s*(question|answer)\s*>(.*?)(?:<\s*/\s*\1\s*>|(?=<\s*(?:question|answer)\s*>)|$)", re.DOTALL | re.I
)
_ANY_TAG = re.compile(r"<\s*/?\s*(?:question|answer)\s*>", re.I)
_EXACT_TAG = re.compile(r"<(/?)(question|answer)>")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Malformed:
    """What a teacher wrote in place of a question and its answer."""

    reason: str  # completes "the text has ..."


_NO_QUESTION = Malformed(reason="no closed <question> element")
_NO_ANSWER = Malformed(reason="no closed <answer> element after a question")


def student_prompt(settings: PromptsSection, question: str) -> str:
    """Formats a question for a student."""
    return settings.student.replace("{question}", question)


def teacher_prompts(settings: PromptsSection) -> list[str]:
    """Returns the teacher's prompts, one per subject; its rollouts cycle over them."""
    return [settings.teacher.replace("{subject}", subject) for subject in settings.subjects or ("",)]


def parse_question_answer(
    settings: PromptsSection, completion: str, extraction: Sequence[str]
) -> QuestionAnswer | Malformed:
    r"""Parses the question and answer of a teacher's completion.

    - "boxed_tags": the last closed <question> element that a closed <answer> element follows, and the box in the
      latter (paper, B.2). The prompt asks for one pair; of several, the last is taken.
    - "tags": the same, end tags optional; the answer is extracted from its element, or is its single line.
    - "separator": the question, `question_end`, and text with a final answer.
    """
    if settings.teacher_format == "boxed_tags":
        return _parse_boxed_tags(completion)
    if settings.teacher_format == "tags":
        question, rest = _last_tagged_pair(completion)
        answer = extract(rest, extraction) or (rest if "\n" not in rest and len(rest) <= 200 else None)
    else:
        question, mark, rest = completion.partition(settings.question_end)
        answer = extract(rest, extraction) if mark else None
    if not answer:
        return Malformed(reason="no question that an answer follows")
    return join_pair(_checked_question(question), answer)


def parse_first_question(text: str) -> str | Malformed:
    """Parses the first closed <question> element."""
    closed = (content for name, content in _exact_elements(text) if name == "question" and content is not None)
    question = next(closed, None)
    return _NO_QUESTION if question is None else _checked_question(question)


def parse_boxed_answer(text: str) -> str | Malformed:
    """Parses the box in the last closed <answer> element."""
    closed = [content for name, content in _exact_elements(text) if name == "answer" and content is not None]
    return _boxed(closed[-1]) if closed else _NO_ANSWER


def join_pair(question: str | Malformed, answer: str | Malformed) -> QuestionAnswer | Malformed:
    """Makes a pair of two parts, unless one is malformed."""
    if isinstance(question, Malformed):
        return question
    return answer if isinstance(answer, Malformed) else QuestionAnswer(question=question, answer=answer)


def parse_question(settings: PromptsSection, text: str, extraction: Sequence[str]) -> str | None:
    """Parses a question that needs no answer; None if there is none.

    "separator": as in `parse_question_answer`, since a question without an answer was cut short. "tags" and
    "boxed_tags": the text up to the first tag, or else within it.
    """
    if settings.teacher_format == "separator":
        pair = parse_question_answer(settings, text, extraction)
        return pair.question if isinstance(pair, QuestionAnswer) else None
    question = _checked_question(next(filter(None, map(str.strip, _ANY_TAG.split(text))), ""))
    return question if isinstance(question, str) else None


def _last_tagged_pair(text: str) -> tuple[str, str]:
    """Returns the last question that an answer follows; a question that was cut short never gets another's answer."""
    question, pair = "", ("", "")
    for name, content in _TAGGED.findall(text):
        if name.lower() == "question":
            question = content
        elif question:
            pair = question, content.strip()
    return pair


def _parse_boxed_tags(text: str) -> QuestionAnswer | Malformed:
    question, pair = None, None
    for name, content in _exact_elements(text):
        if name == "question":
            question = content
        elif question is not None and content is not None:
            pair = question, content
    if pair is None:
        return join_pair(parse_first_question(text), _NO_ANSWER)
    return join_pair(_checked_question(pair[0]), _boxed(pair[1]))


def _exact_elements(text: str) -> Iterator[tuple[str, str | None]]:
    """Name and content of each opening tag, in order; None if the next tag does not close it."""
    for start, end in itertools.pairwise([*_EXACT_TAG.finditer(text), None]):
        if start is not None and not start[1]:
            is_closed = end is not None and end[1] and start[2] == end[2]
            yield start[2], text[start.end() : end.start()] if end is not None and is_closed else None


def _boxed(text: str) -> str | Malformed:
    r"""The content of the last \boxed{…}."""
    return extract(text, ("boxed",)) or Malformed(reason="no \\boxed{...} in its answer")


def _checked_question(question: str) -> str | Malformed:
    """The question without blanks around it, if it has a proper length."""
    question = question.strip()
    if not question:
        return Malformed(reason="an empty question")
    if len(question) > MAX_QUESTION_CHARACTERS:
        return Malformed(reason=f"a question of more than {MAX_QUESTION_CHARACTERS} characters")
    return question
