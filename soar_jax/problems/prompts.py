"""What a student is asked, what the teacher is asked, and what is read from the teacher's text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from soar_jax.grading.extraction import extract
from soar_jax.types import QuestionAnswer

MAX_QUESTION_CHARACTERS = 4000
FORMATS = ("separator", "tags")

_TAGGED = re.compile(
    r"<\s*(question|answer)\s*>(.*?)(?:<\s*/\s*\1\s*>|(?=<\s*(?:question|answer)\s*>)|$)", re.DOTALL | re.I
)
_ANY_TAG = re.compile(r"<\s*/?\s*(?:question|answer)\s*>", re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """Prompt templates of a scale. Text is inserted into them, never interpreted."""

    student: str  # holds {question}
    teacher: str  # fixed but for {subject}: no hard problem is ever shown to the teacher
    bucket_tokens: tuple[int, ...]  # lengths that prompts are padded to
    chat: bool = False  # put prompts into the model's chat template
    system: str = ""  # of the chat; empty: none
    subjects: tuple[str, ...] = ()  # for {subject}, which the teacher's rollouts take turns with
    teacher_format: str = "separator"  # of FORMATS: how question and answer stand in the teacher's text
    question_end: str = "?"  # the separator
    teacher_opening: str = ""  # what the teacher's turn begins with, put into its mouth


def student_prompt(settings: PromptSettings, question: str) -> str:
    """The prompt that asks a student a question."""
    return settings.student.replace("{question}", question)


def teacher_prompts(settings: PromptSettings) -> list[str]:
    """The teacher's prompts, one a subject; its rollouts take turns with them."""
    return [settings.teacher.replace("{subject}", subject) for subject in settings.subjects or ("",)]


def question_and_answer(settings: PromptSettings, completion: str, extraction: Sequence[str]) -> QuestionAnswer | None:
    """The pair in a teacher's completion; None where there is none.

    "separator": the question, `question_end`, and text with a final answer. "tags": the last text in <question> tags
    that one in <answer> tags follows, a missing end tag forgiven; the answer is what `extraction` finds in that, or all
    of a single line.
    """
    if settings.teacher_format == "tags":
        question, rest = _last_pair(completion)
        answer = extract(rest, extraction) or (rest if "\n" not in rest and len(rest) <= 200 else None)
    else:
        question, mark, rest = completion.partition(settings.question_end)
        answer = extract(rest, extraction) if mark else None
    question = question.strip()
    if not question or len(question) > MAX_QUESTION_CHARACTERS or not answer:
        return None
    return QuestionAnswer(question=question, answer=answer)


def question_alone(settings: PromptSettings, text: str, extraction: Sequence[str]) -> str | None:
    """The question in a text that need not answer it; None where there is none.

    "separator": as in `question_and_answer`, since a question without its answer there is one that was cut short.
    "tags": all of the text up to the first tag, or what is in it.
    """
    if settings.teacher_format == "separator":
        pair = question_and_answer(settings, text, extraction)
        return pair.question if pair else None
    question = next(filter(None, map(str.strip, _ANY_TAG.split(text))), "")
    return question if 0 < len(question) <= MAX_QUESTION_CHARACTERS else None


def _last_pair(text: str) -> tuple[str, str]:
    """The last question with an answer behind it: one that was cut short does not get the answer of another."""
    question, pair = "", ("", "")
    for name, held in _TAGGED.findall(text):
        if name.lower() == "question":
            question = held
        elif question:
            pair = question, held.strip()
    return pair
