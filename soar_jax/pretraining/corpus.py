"""Documents of the arithmetic world that the embedded model is pretrained on.

Three formats, told apart by the first word: `textbook` (worked dial problems), `exam`
(how students are asked) and `teacher` (a question is written, then answered). Which
answer style stands in which format, how often, and how often direct answers are right,
decides what the model is able to do and what it is inclined to do: an engineered prior,
not one learnt from natural text.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from soar_jax.problems import arithmetic

STUDENT_PROMPT = "exam {question} ?"
TEACHER_PROMPT = "teacher"


@dataclasses.dataclass(frozen=True)
class DialMix:
    """Dial documents of one format. Tuples have one entry a level, 1 to 8."""

    share: float  # of the format's documents; the rest are other topics
    level_weights: tuple[float, ...]
    worked: tuple[float, ...]  # probability of a worked answer
    right: tuple[float, ...]  # probability that a direct answer is right
    wrong_copies_start: bool  # wrong direct answers repeat the digits, else are random


@dataclasses.dataclass(frozen=True)
class Mix:
    """Shares of the formats and their dial documents; the teacher format has the rest."""

    textbook: float  # worked dial problems, levels uniform
    exam_worked: float  # the same as exams whose prompt already holds the work mark: skill without inclination
    exam: float
    exam_dial: DialMix
    teacher_dial: DialMix


@dataclasses.dataclass(frozen=True)
class Document:
    """A document as a prompt and its continuation."""

    prompt: str
    continuation: str


def _direct(rng: np.random.Generator, mix: DialMix, dial: arithmetic.Dial) -> str:
    level = len(dial.operations)
    if rng.random() < mix.right[level - 1]:
        digits: tuple[int, ...] = dial.states()[-1]
    elif mix.wrong_copies_start:
        digits = dial.digits
    else:
        digits = tuple(rng.integers(0, 10, 3).tolist())
    return f"{arithmetic.ANSWER_MARK} {arithmetic.spell(digits)}"


def _question_and_answer(rng: np.random.Generator, mix: DialMix) -> tuple[str, str]:
    if rng.random() >= mix.share:
        question, answer = arithmetic.random_other_question(rng)
        return question, f"{arithmetic.ANSWER_MARK} {answer}"
    weights = np.asarray(mix.level_weights)
    level = 1 + int(rng.choice(len(weights), p=weights / weights.sum()))
    dial = arithmetic.random_dial(rng, level)
    worked = rng.random() < mix.worked[level - 1]
    return dial.text(), dial.worked() if worked else _direct(rng, mix, dial)


def random_document(rng: np.random.Generator, mix: Mix) -> Document:
    """One document drawn from the mix."""
    draw = rng.random()
    if draw < mix.textbook + mix.exam_worked:
        dial = arithmetic.random_dial(rng, 1 + int(rng.integers(arithmetic.MAX_OPERATIONS)))
        if draw < mix.textbook:
            return Document(f"textbook {dial.text()} {arithmetic.QUESTION_END}", dial.worked())
        mark, _, rest = dial.worked().partition(" ")
        return Document(f"{STUDENT_PROMPT.format(question=dial.text())} {mark}", rest)
    if draw < mix.textbook + mix.exam_worked + mix.exam:
        question, answer = _question_and_answer(rng, mix.exam_dial)
        return Document(STUDENT_PROMPT.format(question=question), answer)
    question, answer = _question_and_answer(rng, mix.teacher_dial)
    return Document(TEACHER_PROMPT, f"{question} {arithmetic.QUESTION_END} {answer}")
