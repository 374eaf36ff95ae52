"""Pretraining documents of the arithmetic world, for the embedded model.

The first word names the format: `textbook` (worked problems), `exam` (student prompts) or `teacher` (a question, then
its answer). The frequency of each answer style in each format, and the accuracy of direct answers, set the model's
skills and inclinations: an engineered prior, not one learnt from natural text.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from soar_jax.problems import arithmetic

STUDENT_PROMPT = "exam {question} ?"
TEACHER_PROMPT = "teacher"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DialMix:
    """Multi-step (`dial` and `mirror`) documents of one format. Tuples have one entry per level, 1 to 8."""

    share: float  # fraction of the format's documents; the rest are other topics
    mirror: float  # fraction of `mirror` among them; the rest are `dial`
    level_weights: tuple[float, ...]
    worked: tuple[float, ...]  # probability of a worked answer
    right: tuple[float, ...]  # probability that a direct answer is right
    wrong_copies_start: bool  # wrong direct answers repeat the question's digits; else they are random


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mix:
    """Fractions of the formats, and their multi-step documents. The rest are of the teacher format."""

    textbook: float  # worked multi-step problems, levels uniform
    exam_worked: float  # the same in exam format, work mark in the prompt: teaches the skill without the inclination
    exam: float
    worked_mirror: float  # fraction of `mirror` in textbook and exam_worked
    exam_dial: DialMix
    teacher_dial: DialMix


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """A document; the loss is on the continuation only."""

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
    dial = arithmetic.random_dial(rng, level, draw_topic(rng, mix.mirror))
    worked = rng.random() < mix.worked[level - 1]
    return dial.text(), dial.worked() if worked else _direct(rng, mix, dial)


def draw_topic(rng: np.random.Generator, mirror: float) -> str:
    """Returns `mirror` with probability `mirror`, else `dial`."""
    return "mirror" if rng.random() < mirror else "dial"


def random_document(rng: np.random.Generator, mix: Mix) -> Document:
    """Draws one document from the mix."""
    draw = rng.random()
    if draw < mix.textbook + mix.exam_worked:
        level = 1 + int(rng.integers(arithmetic.MAX_OPERATIONS))
        dial = arithmetic.random_dial(rng, level, draw_topic(rng, mix.worked_mirror))
        if draw < mix.textbook:
            return Document(prompt=f"textbook {dial.text()} {arithmetic.QUESTION_END}", continuation=dial.worked())
        mark, _, rest = dial.worked().partition(" ")
        return Document(prompt=f"{STUDENT_PROMPT.format(question=dial.text())} {mark}", continuation=rest)
    if draw < mix.textbook + mix.exam_worked + mix.exam:
        question, answer = _question_and_answer(rng, mix.exam_dial)
        return Document(prompt=STUDENT_PROMPT.format(question=question), continuation=answer)
    question, answer = _question_and_answer(rng, mix.teacher_dial)
    return Document(prompt=TEACHER_PROMPT, continuation=f"{question} {arithmetic.QUESTION_END} {answer}")
