"""Draws completions of the teacher, and reads the question-answer pairs in them.

With two turns, the teacher writes a question first, and its answer in a second completion (paper, D.3). The
log-probability of a pair is the sum of both completions', so that both are trained on with the pair's advantage. The
loss is a mean over completions, half of what a mean over pairs would be; AdamW hides a constant factor.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from soar_jax import parallel
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.problems.prompts import (
    Malformed,
    join_pair,
    parse_boxed_answer,
    parse_first_question,
    parse_question_answer,
    teacher_prompts,
)
from soar_jax.rl.indicators import CompletionSums
from soar_jax.rng import stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.setup import Setup
from soar_jax.types import PromptBatch, QuestionAnswer, RolloutBatch, map_rows

_UNFIT = Malformed(reason="a question that does not fit a student's prompt")
_UNREADABLE = Malformed(reason="an answer that the grader cannot read")
_TOO_LONG = Malformed(reason="a question that is too long for the prompt of its answer")


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
    rollouts, questions = _end_at_question(setup, rollouts, settings.teacher_opening)
    key = stream_key(setup.config.seed, f"{stream}_answer", *indices)
    answers, pairs = _sample_answers(setup, policy, questions, key=key)
    return TeacherDraw(turns=(rollouts, answers), texts=texts, items=_refuse(setup, pairs))


def _sample(setup: Setup, policy: Params, key: jax.Array) -> RolloutBatch:
    """Samples g * n completions of the teacher's prompts, which they cycle over."""
    config, prompts = setup.config, teacher_prompts(setup.config.prompts)
    num_prompts = len(prompts)
    samples = ceil_div(config.num_written, num_prompts)
    encoded = setup.sampler.encode_prompts(prompts, (config.prompts.teacher_opening,) * num_prompts)
    if config.teacher.turns == 2:
        encoded = _pad_to_longest(setup, encoded)
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


def _pad_to_longest(setup: Setup, prompts: PromptBatch) -> PromptBatch:
    """Pads prompts to the longest bucket: both turns become one batch, and draws are joined."""
    width = max(setup.config.prompts.bucket_tokens)
    padding = ((0, 0), (0, width - prompts.tokens.shape[1]))
    tokens = np.pad(prompts.tokens, padding, constant_values=setup.sampler.tokenizer.pad_id)
    return dataclasses.replace(prompts, tokens=tokens)


def _end_at_question(setup: Setup, rollouts: RolloutBatch, opening: str) -> tuple[RolloutBatch, list[str | Malformed]]:
    """Ends each completion with the first question that it closes; one without a question keeps its length.

    Args:
      opening: the text that completions begin with, a part of their prompts.

    Returns:
      The shortened rollouts, and their questions.
    """
    tokens, lengths = processes.to_host(rollouts.tokens), processes.to_host(rollouts.lengths)

    def question(row: int, length: int) -> str | Malformed:
        (text,) = setup.sampler.tokenizer.decode([tokens[row, :length].tolist()])
        return parse_first_question(opening + text)

    def end(row: int, length: int) -> int:
        # The fewest tokens that close the question, or all of them: what is closed stays so in a longer text.
        return bisect.bisect_left(range(length), True, key=lambda tokens: isinstance(question(row, tokens), str))

    ends = [end(row, int(length)) for row, length in enumerate(lengths)]
    return _with_lengths(setup, rollouts, np.array(ends)), [question(row, length) for row, length in enumerate(ends)]


def _sample_answers(
    setup: Setup, policy: Params, questions: Sequence[str | Malformed], *, key: jax.Array
) -> tuple[RolloutBatch, list[QuestionAnswer | Malformed]]:
    """Samples an answer to each question of a draw: after prompt, question and `prompts.answer_request`.

    A question that makes its prompt too long is malformed, too.

    Returns:
      Rollouts, one row for each question, without a token where it is malformed; and the pairs.
    """
    settings = setup.config.prompts
    prompts = teacher_prompts(settings)
    rows = [
        (prompts[row % len(prompts)], f"<question>{question}</question>{settings.answer_request}")
        for row, question in enumerate(questions)
    ]
    asked = [
        question if isinstance(question, Malformed) or setup.sampler.fits_prompt(*row) else _TOO_LONG
        for row, question in zip(rows, questions, strict=True)
    ]
    is_asked = np.array([isinstance(question, str) for question in asked])
    # For one compiled shape, rows without a question ask another's, or none at all.
    stand_in = rows[is_asked.argmax()] if is_asked.any() else (prompts[0], "")
    rows = [row if is_there else stand_in for row, is_there in zip(rows, is_asked, strict=True)]
    encoded = setup.sampler.encode_prompts([prompt for prompt, _ in rows], [opening for _, opening in rows])
    draw = Draw(key=key, settings=setup.teacher.sampling, num_samples=1)
    rollouts = setup.sampler.sample(policy, _pad_to_longest(setup, encoded), draw)
    answers = [parse_boxed_answer(text) for text in setup.sampler.texts(rollouts)]
    lengths = np.where(is_asked, processes.to_host(rollouts.lengths), 0)
    return _with_lengths(setup, rollouts, lengths), [join_pair(*pair) for pair in zip(asked, answers, strict=True)]


def _with_lengths(setup: Setup, rollouts: RolloutBatch, lengths: np.ndarray) -> RolloutBatch:
    """Replaces the lengths of completions: tokens behind them are padding."""
    return dataclasses.replace(rollouts, lengths=parallel.replicate(setup.mesh, lengths.astype(np.int32)))
