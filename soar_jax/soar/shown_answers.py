"""Answers of students that `completions.jsonl` shows: a few of each outer step, drawn from all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.grading.grader import Verdict
from soar_jax.rng import stream_generator
from soar_jax.soar.setup import Setup
from soar_jax.types import QuestionAnswer

MAX_CHARACTERS = 8000  # of a text in a row: model text may be of any length


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Pick:
    """An answer of an outer step, by its place."""

    step: int  # student step of the episode
    student: int  # among all students of the outer step
    row: int  # among the student's answers in that student step


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShownAnswer:
    """A picked answer, and what became of it."""

    pick: Pick
    asked: QuestionAnswer
    completion: str
    answer: str | None  # extracted from the completion; None where there is none
    verdict: Verdict
    reward: float
    advantage: float

    def row(self, outer_step: int, students_per_dataset: int) -> dict[str, Any]:
        """Makes the row of `completions.jsonl`."""
        dataset, student = divmod(self.pick.student, students_per_dataset)
        return {
            "outer_step": outer_step,
            "dataset": dataset,
            "student": student,
            "student_step": self.pick.step,
            "question": _cut(self.asked.question),
            "reference_answer": _cut(self.asked.answer),
            "completion": _cut(self.completion),
            "answer": None if self.answer is None else _cut(self.answer),
            "verdict": self.verdict.value,
            "reward": self.reward,
            "advantage": self.advantage,
        }


def pick_answers(
    setup: Setup, question_sets: Sequence[Sequence[QuestionAnswer]], *, outer_step: int, num_steps: int
) -> tuple[Pick, ...]:
    """Draws `analysis.saved_completions` answers of the students that have questions, each as likely as any other."""
    config = setup.config
    students = [index for index, questions in enumerate(question_sets) if questions]
    shape = (num_steps, len(students), config.inner.questions_per_step * config.inner.group_size)
    total = int(np.prod(shape))
    rng = stream_generator(config.seed, "saved_completions", outer_step)
    drawn = np.sort(rng.choice(total, min(config.analysis.saved_completions, total), replace=False))
    places = np.stack(np.unravel_index(drawn, shape), axis=1).tolist()
    return tuple(Pick(step=step, student=students[index], row=row) for step, index, row in places)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"
