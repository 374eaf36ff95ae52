"""Draws completions of the teacher, and reads the question-answer pairs in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.problems.prompts import Malformed, parse_question_answer, teacher_prompts
from soar_jax.rng import stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar import two_turns
from soar_jax.soar.indicators import CompletionSums
from soar_jax.soar.setup import Setup
from soar_jax.types import QuestionAnswer, RolloutBatch, map_rows

_UNFIT = Malformed(reason="a question that does not fit a student's prompt")
_UNREADABLE = Malformed(reason="an answer that the grader cannot read")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherDraw:
    """The g * n completions of one draw."""

    turns: tuple[RolloutBatch, ...]  # one batch a turn, row i of each is of completion i
    texts: tuple[str, ...]  # of the first turn
    items: tuple[QuestionAnswer | Malformed, ...]

    def completion_sums(self, setup: Setup) -> CompletionSums:
        """Sums over the completions of all turns."""
        stop_ids = setup.teacher.sampling.stop_ids
        return sum((CompletionSums.of(turn, stop_ids) for turn in self.turns), CompletionSums())


def draw_completions(setup: Setup, policy: Params, stream: str, *indices: int) -> TeacherDraw:
    """Samples and reads g * n completions; completion i is of prompt i modulo the number of prompts.

    A completion is malformed if question or answer is missing, or if the question does not fit a student's prompt; with
    `prompts.teacher_format` "boxed_tags" also if the grader cannot read the answer (paper, B.2).
    """
    settings = setup.config.prompts
    rollouts = _sample(setup, policy, stream_key(setup.config.seed, stream, *indices))
    texts = tuple(setup.sampler.texts(rollouts))
    if setup.config.teacher.turns == 1:
        pairs = [
            parse_question_answer(settings, settings.teacher_opening + text, setup.grader.extraction) for text in texts
        ]
        return TeacherDraw(turns=(rollouts,), texts=texts, items=_refuse(setup, pairs))
    rollouts, questions = two_turns.end_at_question(setup, rollouts, settings.teacher_opening)
    key = stream_key(setup.config.seed, f"{stream}_answer", *indices)
    answers, pairs = two_turns.sample_answers(setup, policy, key, questions)
    return TeacherDraw(turns=(rollouts, answers), texts=texts, items=_refuse(setup, pairs))


def _sample(setup: Setup, policy: Params, key: jax.Array) -> RolloutBatch:
    """Samples g * n completions of the teacher's prompts, which they cycle over."""
    config, prompts = setup.config, teacher_prompts(setup.config.prompts)
    num_prompts = len(prompts)
    samples = ceil_div(config.num_written, num_prompts)
    encoded = setup.sampler.encode_prompts(prompts, (config.prompts.teacher_opening,) * num_prompts)
    if config.teacher.turns == 2:
        encoded = two_turns.pad_to_longest(setup, encoded)
    rollouts = setup.sampler.sample(
        policy, encoded, Draw(key=key, settings=setup.teacher.sampling, num_samples=samples)
    )
    order = np.arange(num_prompts * samples).reshape(num_prompts, samples).T.reshape(-1)[: config.num_written]
    is_in_order = np.array_equal(order, np.arange(num_prompts * samples))
    return rollouts if is_in_order else _take_rows(rollouts, order)


@jax.jit
def _take_rows(rollouts: RolloutBatch, order: np.ndarray) -> RolloutBatch:
    return map_rows(lambda leaf: leaf[order], rollouts)


def _refuse(setup: Setup, pairs: Sequence[QuestionAnswer | Malformed]) -> tuple[QuestionAnswer | Malformed, ...]:
    """Refuses pairs that students could not be asked, or whose answers could not be graded."""
    items = [
        _UNFIT if isinstance(pair, QuestionAnswer) and not setup.sampler.fits(pair.question) else pair for pair in pairs
    ]
    if setup.config.prompts.teacher_format != "boxed_tags":
        return tuple(items)
    answers = [item.answer for item in items if isinstance(item, QuestionAnswer)]
    is_readable = dict(zip(answers, setup.grader.is_readable(answers), strict=True))
    return tuple(item if isinstance(item, Malformed) or is_readable[item.answer] else _UNREADABLE for item in items)
