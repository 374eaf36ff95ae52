import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from soar_jax.model import decoder
from soar_jax.rl.losses import completion_mask, policy_logprobs
from soar_jax.sampling.sampler import SamplingSettings, filtered_logits, sample, sample_in_chunks
from soar_jax.types import PromptBatch

STOP, PAD = 1, 0


def settings(temperature=1.0, top_p=1.0, length=6, stop=(STOP,)):
    return SamplingSettings(length, temperature, top_p, stop, PAD)


@pytest.fixture(scope="module")
def prompts():
    tokens = np.array([[5, 3, 7, 2, 9], [4, 8, 0, 0, 0], [6, 2, 3, 0, 0]], np.int32)
    return PromptBatch(tokens, np.array([5, 2, 3], np.int32))


def next_logits(params, model, ids):
    """Logits after an unpadded row, without any cache."""
    tokens = jnp.array([ids])
    hidden, _ = decoder.hidden_states(params, model, tokens, jnp.arange(len(ids))[None], jnp.ones(tokens.shape, bool))
    return decoder.logits(params, model, hidden)[0, -1]


def test_greedy_equals_the_uncached_forward_token_by_token(tiny_model, tiny_params, prompts):
    rollouts = sample(tiny_params, prompts, jax.random.key(0), tiny_model, settings(temperature=0, length=12))
    for row in range(3):
        ids = prompts.tokens[row, : prompts.lengths[row]].tolist()
        expected = []
        while len(expected) < 12 and (not expected or expected[-1] != STOP):
            expected.append(int(jnp.argmax(next_logits(tiny_params, tiny_model, ids + expected))))
        assert rollouts.lengths[row] == len(expected)
        assert rollouts.tokens[row, : len(expected)].tolist() == expected


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.3, 0.7)])
def test_draws_follow_the_exact_distribution(tiny_model, tiny_params, temperature, top_p):
    prompt = [5, 3, 7]
    chosen = settings(temperature, top_p, length=2, stop=())
    batch = PromptBatch(np.array([prompt], np.int32), np.array([3], np.int32))
    draws = np.asarray(sample(tiny_params, batch, jax.random.key(1), tiny_model, chosen, 6000).tokens)

    def probabilities(ids):
        return np.asarray(jax.nn.softmax(filtered_logits(next_logits(tiny_params, tiny_model, ids), chosen)))

    expected = np.outer(np.ones(11), np.ones(11))
    expected *= probabilities(prompt)[:, None]
    expected *= np.stack([probabilities([*prompt, token]) for token in range(11)])
    observed = np.zeros((11, 11))
    np.add.at(observed, (draws[:, 0], draws[:, 1]), 1)
    assert observed[expected == 0].sum() == 0
    frequent = expected * 6000 >= 5
    observed_bins = np.append(observed[frequent], observed[~frequent].sum())
    expected_bins = np.append(expected[frequent], expected[~frequent].sum()) * 6000
    keep = expected_bins > 0
    assert stats.chisquare(observed_bins[keep], expected_bins[keep] * (6000 / expected_bins.sum())).pvalue > 1e-4


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    kept = np.isfinite(filtered_logits(logits, settings(top_p=0.8001)))
    assert kept.tolist() == [True, True, True, False]
    assert np.isfinite(filtered_logits(logits, settings(top_p=0.5))).tolist() == [True, False, False, False]


def test_logprobs_are_those_that_training_computes(tiny_model, tiny_params, prompts):
    rollouts = sample(tiny_params, prompts, jax.random.key(2), tiny_model, settings(temperature=0.7, length=8), 4)
    mask = completion_mask(rollouts)
    trained = policy_logprobs(tiny_params, tiny_model, rollouts, 0.7, chunk_tokens=7)
    np.testing.assert_allclose(rollouts.sampler_logprobs, trained * mask, atol=2e-6)


def test_rows_end_at_their_first_stop_token_even_when_padding_shares_its_id(tiny_model, tiny_params, prompts):
    shared = SamplingSettings(10, 1.0, 1.0, (0, 3), 0)
    rollouts = sample(tiny_params, prompts, jax.random.key(3), tiny_model, shared, 16)
    for tokens, length in zip(np.asarray(rollouts.tokens), np.asarray(rollouts.lengths), strict=True):
        assert not np.isin(tokens[: length - 1], (0, 3)).any()
        assert length == 10 or tokens[length - 1] in (0, 3)
        assert (tokens[length:] == 0).all()


def test_chunks_draw_what_one_batch_draws(tiny_model, tiny_params):
    batch = PromptBatch(np.tile(np.array([[5, 3, 7]], np.int32), (6, 1)), np.full(6, 3, np.int32))
    whole = sample(tiny_params, batch, jax.random.key(4), tiny_model, settings(), 4)
    parts = sample_in_chunks(tiny_params, batch, jax.random.key(4), tiny_model, settings(), 4, rows_per_chunk=8)
    np.testing.assert_array_equal(whole.tokens, parts.tokens)
    np.testing.assert_allclose(whole.sampler_logprobs, parts.sampler_logprobs, atol=1e-6)


def test_a_wider_bucket_changes_nothing(tiny_model, tiny_params, prompts):
    wide = PromptBatch(np.pad(prompts.tokens, ((0, 0), (0, 4)), constant_values=9), prompts.lengths)
    narrow = sample(tiny_params, prompts, jax.random.key(5), tiny_model, settings())
    padded = sample(tiny_params, wide, jax.random.key(5), tiny_model, settings())
    np.testing.assert_array_equal(narrow.tokens, padded.tokens)
