"""A teacher that writes a question first, and its answer in a second completion (paper, D.3).

The log-probability of a pair is the sum of both completions', so that both are trained on with the pair's advantage.
The loss is a mean over completions, half of what a mean over pairs would be; AdamW hides a constant factor.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from soar_jax import parallel
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.problems.prompts import (
    Malformed,
    join_pair,
    parse_boxed_answer,
    parse_first_question,
    teacher_prompts,
)
from soar_jax.sampling.text import Draw
from soar_jax.soar.setup import Setup
from soar_jax.types import PromptBatch, QuestionAnswer, RolloutBatch

_TOO_LONG = Malformed(reason="a question that is too long for the prompt of its answer")


def pad_to_longest(setup: Setup, prompts: PromptBatch) -> PromptBatch:
    """Pads prompts to the longest bucket: both turns become one batch, and draws are joined."""
    width = max(setup.config.prompts.bucket_tokens)
    padding = ((0, 0), (0, width - prompts.tokens.shape[1]))
    tokens = np.pad(prompts.tokens, padding, constant_values=setup.sampler.tokenizer.pad_id)
    return dataclasses.replace(prompts, tokens=tokens)


def end_at_question(setup: Setup, rollouts: RolloutBatch, opening: str) -> tuple[RolloutBatch, list[str | Malformed]]:
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


def sample_answers(
    setup: Setup, policy: Params, key: jax.Array, questions: Sequence[str | Malformed]
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
    rollouts = setup.sampler.sample(policy, pad_to_longest(setup, encoded), draw)
    answers = [parse_boxed_answer(text) for text in setup.sampler.texts(rollouts)]
    lengths = np.where(is_asked, processes.to_host(rollouts.lengths), 0)
    return _with_lengths(setup, rollouts, lengths), [join_pair(*pair) for pair in zip(asked, answers, strict=True)]


def _with_lengths(setup: Setup, rollouts: RolloutBatch, lengths: np.ndarray) -> RolloutBatch:
    """Replaces the lengths of completions: tokens behind them are padding."""
    return dataclasses.replace(rollouts, lengths=parallel.replicate(setup.mesh, lengths.astype(np.int32)))
