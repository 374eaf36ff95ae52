"""Rows sorted into micro-batches: each row with a gradient comes once, with its own prompt."""

import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.rl.micro_batches import MicroBatches
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch

WIDTHS = (2, 4)


def batch_of(prompt_of, lengths, advantages, num_prompts):
    """Row i has the tokens 10 * (prompt + 1) + i; prompt p has the token p."""
    rows, prompt_of = np.arange(len(lengths)), np.array(prompt_of, np.int32)
    tokens = np.repeat((10 * (prompt_of + 1) + rows)[:, None], WIDTHS[-1], axis=1).astype(np.int32)
    prompts = PromptBatch(
        tokens=np.arange(num_prompts, dtype=np.int32)[:, None], lengths=np.ones(num_prompts, np.int32)
    )
    rollouts = RolloutBatch(
        prompts=prompts,
        prompt_of=prompt_of,
        tokens=tokens,
        lengths=np.array(lengths, np.int32),
        sampler_logprobs=np.zeros(tokens.shape, np.float32),
    )
    return TrainBatch(rollouts=rollouts, advantages=np.array(advantages, np.float32))


def walk(rows):
    """(chunk, width, rows with their prompts and advantages) of each micro-batch that is computed."""
    for chunk in range(int(rows.num_active)):
        for width, begin, end in rows.ranges(jnp.int32(chunk)):
            for index in range(int(begin), int(end)):
                micro = rows.micro_batch(jnp.int32(chunk), jnp.int32(index), width)
                rollouts = micro.rollouts
                assert rollouts.tokens.shape == (rows.size, width)
                prompts = np.asarray(rollouts.prompts.tokens)[np.asarray(rollouts.prompt_of), 0]
                found = zip(rollouts.tokens[:, 0], prompts, rollouts.lengths, micro.advantages, strict=True)
                yield chunk, width, [tuple(map(float, row)) for row in found if row[2] > 0]


PROMPT_OF = [0, 0, 1, 1, 2, 2, 3, 3]
LENGTHS = [1, 4, 2, 2, 3, 1, 4, 2]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("uses_kl", [False, True])
def test_each_row_with_a_gradient_comes_once_with_its_prompt(size, uses_kl):
    advantages = [1.0, -1.0, 0.0, 0.0, 0.5, 0.0, -2.0, 2.0]
    batch = batch_of(PROMPT_OF, LENGTHS, advantages, num_prompts=5)
    rows = MicroBatches.sort(batch, WIDTHS, uses_kl=uses_kl, rows_per_micro_batch=size)
    found = []
    for _, width, micro in walk(rows):
        assert all(length <= width for _, _, length, _ in micro)
        found += micro
    expected = [
        (10 * (prompt + 1) + row, prompt, length, advantage)
        for row, (prompt, length, advantage) in enumerate(zip(PROMPT_OF, LENGTHS, advantages, strict=True))
        if advantage or uses_kl
    ]
    assert sorted(found) == sorted(expected)


def test_short_rows_are_cut_and_chunks_without_gradient_skipped():
    advantages = [0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0]
    batch = batch_of(PROMPT_OF, LENGTHS, advantages, num_prompts=4)
    rows = MicroBatches.sort(batch, WIDTHS, uses_kl=False, rows_per_micro_batch=2)
    assert (int(rows.num_active), rows.chunk_prompts) == (1, 2)  # of two chunks
    assert [(width, sorted(row[0] for row in micro)) for _, width, micro in walk(rows)] == [(2, [22.0, 23.0])]


def test_a_batch_without_an_advantage_has_no_micro_batch():
    batch = batch_of(PROMPT_OF, LENGTHS, [0.0] * 8, num_prompts=4)
    rows = MicroBatches.sort(batch, WIDTHS, uses_kl=False, rows_per_micro_batch=4)
    assert list(walk(rows)) == []
