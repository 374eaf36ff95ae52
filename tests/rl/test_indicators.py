"""Indicators of sampled completions, and their means."""

import dataclasses

import numpy as np
import pytest

from soar_jax.rl.indicators import CompletionSums, join_students, means, stack_steps
from soar_jax.types import RolloutBatch

STOP = 7


def rollouts(lengths, last_tokens, num_slots=4):
    """Completions whose token t has the probability exp(-(t + 1)), padded after their last tokens."""
    lengths = np.array(lengths, np.int32)
    tokens = np.full((*lengths.shape, num_slots), STOP, np.int32)  # also the padding, as in many tokenizers
    np.put_along_axis(tokens, np.maximum(lengths - 1, 0)[..., None], np.array(last_tokens)[..., None], axis=-1)
    logprobs = np.broadcast_to(-np.arange(1.0, num_slots + 1, dtype=np.float32), tokens.shape).copy()
    logprobs[np.arange(num_slots) >= lengths[..., None]] = np.nan  # padding has no meaning
    return RolloutBatch(prompts=None, prompt_of=None, tokens=tokens, lengths=lengths, sampler_logprobs=logprobs)


def test_truncated_is_what_the_limit_ended():
    """Not the completion whose last possible token is a stop token, nor the one that was cut before the limit."""
    sums = CompletionSums.of(rollouts([2, 4, 4, 3, 0], [STOP, 1, STOP, 1, 1]), (6, STOP))
    assert (sums.completions, sums.truncated, sums.tokens) == (4, 1, 13)
    assert sums.surprisal == (1 + 2) + 2 * (1 + 2 + 3 + 4) + (1 + 2 + 3)
    assert means(sums.indicators(), "teacher_") == {
        "teacher_entropy_estimate": pytest.approx(29 / 13),
        "teacher_truncated_share": 0.25,
        "teacher_completion_tokens": 13 / 4,
    }


def test_students_have_their_own_indicators():
    found = CompletionSums.of(rollouts([[4, 4], [1, 0], [0, 0]], [[1, 1], [STOP, 1], [1, 1]]), (STOP,)).indicators()
    np.testing.assert_array_equal(found["truncated_share"], [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(found["completion_tokens"], [4.0, 1.0, np.nan])
    np.testing.assert_array_equal(found["entropy_estimate"], [2.5, 1.0, np.nan])


def test_sums_of_draws_add_up():
    one, other = rollouts([1, 4], [STOP, 1]), rollouts([4, 2], [1, STOP])
    both = rollouts([1, 4, 4, 2], [STOP, 1, 1, STOP])
    added = CompletionSums() + CompletionSums.of(one, (STOP,)) + CompletionSums.of(other, (STOP,))
    assert dataclasses.asdict(added) == dataclasses.asdict(CompletionSums.of(both, (STOP,)))
    assert set(means(CompletionSums().indicators()).values()) == {None}


def test_means_are_over_steps_and_students_that_have_a_value():
    steps = [{"kl": np.array([1.0, np.nan])}, {"kl": np.array([np.nan, np.nan])}]
    other = [{"kl": np.array([4.0])}, {"kl": np.array([7.0])}]
    waves = [stack_steps(steps), stack_steps(other)]
    joined = join_students(waves)
    np.testing.assert_array_equal(joined["kl"], [[1.0, np.nan, 4.0], [np.nan, np.nan, 7.0]])
    assert means(joined) == {"kl": 4.0}
    assert means({"kl": np.array([np.nan])}) == {"kl": None}
