import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from soar_jax.model import decoder, parameters
from soar_jax.rl.losses import completion_mask, policy_logprobs
from soar_jax.sampling import ring, sampler
from soar_jax.sampling.sampler import SamplingSettings, filtered_logits
from soar_jax.types import PromptBatch

STOP, PAD = 1, 0
STATIC = ("model", "settings", "samples", "max_slots", "num_shards", "vmap_axis_name")


def draw(params, prompts, seed, model, settings, samples=1, **options):
    """Samples without jit, so that changed constants of the package count."""
    key = jax.random.key(seed)
    return sampler.sample(params, prompts, key, model, settings, samples_per_prompt=samples, **options)


@functools.partial(jax.jit, static_argnames=STATIC)
def sample(params, prompts, seed, model, settings, samples=1, **options):
    return draw(params, prompts, seed, model, settings, samples, **options)


def settings(temperature=1.0, top_p=1.0, length=6, stop=(STOP,)):
    return SamplingSettings(
        max_completion_tokens=length, temperature=temperature, top_p=top_p, stop_ids=stop, pad_id=PAD
    )


@pytest.fixture(scope="module")
def prompts():
    tokens = np.array([[5, 3, 7, 2, 9], [4, 8, 0, 0, 0], [6, 2, 3, 0, 0]], np.int32)
    return PromptBatch(tokens=tokens, lengths=np.array([5, 2, 3], np.int32))


@functools.partial(jax.jit, static_argnames="model")
def all_logits(params, model, tokens):
    positions = jnp.arange(tokens.shape[1])[None]
    hidden, _ = decoder.hidden_states(
        params, model, tokens=tokens, positions=positions, key_valid=jnp.ones(tokens.shape, bool)
    )
    return decoder.logits(params, model, hidden)[0]


def next_logits(params, model, ids):
    """Logits after a row, without a cache; causality masks the padding."""
    return all_logits(params, model, jnp.array([ids + [PAD] * (20 - len(ids))]))[len(ids) - 1]


@pytest.mark.parametrize("windows", [(), (1,)])
def test_greedy_equals_the_uncached_forward_token_by_token(tiny_model, tiny_params, prompts, windows):
    tiny_model = dataclasses.replace(tiny_model, layers_with_window=windows, window_tokens=4, window_rope_theta=100.0)
    rollouts = sample(tiny_params, prompts, 0, tiny_model, settings(temperature=0, length=12), max_slots=2)
    for row in range(3):
        ids = prompts.tokens[row, : prompts.lengths[row]].tolist()
        expected = []
        while len(expected) < 12 and (not expected or expected[-1] != STOP):
            expected.append(int(jnp.argmax(next_logits(tiny_params, tiny_model, ids + expected))))
        assert rollouts.lengths[row] == len(expected)
        assert rollouts.tokens[row, : len(expected)].tolist() == expected


@pytest.mark.parametrize(
    ("temperature", "top_p"),
    [pytest.param(1.0, 1.0, marks=pytest.mark.slow), pytest.param(0.6, 1.0, marks=pytest.mark.slow), (1.3, 0.7)],
)
def test_draws_follow_the_exact_distribution(tiny_model, tiny_params, temperature, top_p):
    prompt = [5, 3, 7]
    chosen = settings(temperature, top_p, length=2, stop=())
    batch = PromptBatch(tokens=np.array([prompt], np.int32), lengths=np.array([3], np.int32))
    draws = np.asarray(sample(tiny_params, batch, 1, tiny_model, chosen, samples=6000).tokens)

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


def test_draws_are_those_of_jax_random_categorical():
    logits = jnp.round(4 * jax.random.normal(jax.random.key(0), (64, 50)))  # with equal ones
    keys = jax.random.split(jax.random.key(1), 64)
    tokens, logprobs = sampler.draw_tokens(logits, keys, settings())
    np.testing.assert_array_equal(tokens, jax.vmap(jax.random.categorical)(keys, logits))
    rows = jnp.arange(64)
    np.testing.assert_allclose(logprobs, jax.nn.log_softmax(logits)[rows, tokens], atol=1e-5)
    greedy, _ = sampler.draw_tokens(logits, keys, settings(temperature=0))
    np.testing.assert_array_equal(greedy, jnp.argmax(logits, axis=-1))


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    kept = np.isfinite(filtered_logits(logits, settings(top_p=0.8001)))
    assert kept.tolist() == [True, True, True, False]
    assert np.isfinite(filtered_logits(logits, settings(top_p=0.5))).tolist() == [True, False, False, False]


@pytest.mark.slow
def test_logprobs_are_those_that_training_computes(tiny_model, tiny_params, prompts):
    rollouts = sample(tiny_params, prompts, 2, tiny_model, settings(temperature=0.7, length=8), samples=4)
    mask = completion_mask(rollouts)
    trained = policy_logprobs(tiny_params, tiny_model, rollouts=rollouts, temperature=0.7, chunk_tokens=7)
    np.testing.assert_allclose(rollouts.sampler_logprobs, trained * mask, atol=2e-6)


@pytest.mark.slow
def test_a_rounded_cache_gives_nearly_the_same_logprobs(tiny_model, tiny_params, prompts):
    rounded = dataclasses.replace(tiny_model, int8_cache=True)
    rollouts = sample(tiny_params, prompts, 2, rounded, settings(length=8), samples=4)
    mask = completion_mask(rollouts)
    trained = policy_logprobs(tiny_params, tiny_model, rollouts=rollouts, temperature=1.0, chunk_tokens=7) * mask
    assert 1e-5 < np.abs(rollouts.sampler_logprobs - trained).max() < 2e-2


def test_rows_end_at_the_first_stop_token(tiny_model, tiny_params, prompts):
    """Also when the padding id is a stop token."""
    shared = SamplingSettings(max_completion_tokens=10, temperature=1.0, top_p=1.0, stop_ids=(0, 3), pad_id=0)
    rollouts = sample(tiny_params, prompts, 3, tiny_model, shared, samples=16)
    for tokens, length in zip(np.asarray(rollouts.tokens), np.asarray(rollouts.lengths), strict=True):
        assert not np.isin(tokens[: length - 1], (0, 3)).any()
        assert length == 10 or tokens[length - 1] in (0, 3)
        assert (tokens[length:] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("max_slots", "int8_cache"),
    [(1, False), *(pytest.param(8, is_int8, marks=pytest.mark.slow) for is_int8 in (False, True))],
)
def test_few_slots_draw_what_many_draw(tiny_model, tiny_params, prompts, max_slots, int8_cache):
    tiny_model = dataclasses.replace(tiny_model, int8_cache=int8_cache)
    many = sample(tiny_params, prompts, 4, tiny_model, settings(length=40), samples=5)
    few = sample(tiny_params, prompts, 4, tiny_model, settings(length=40), samples=5, max_slots=max_slots)
    assert len(set(many.lengths.tolist())) > 4  # slots are free at different times
    for name in ("tokens", "lengths"):
        np.testing.assert_array_equal(getattr(many, name), getattr(few, name))
    np.testing.assert_array_equal(many.prompts.tokens, few.prompts.tokens)
    np.testing.assert_allclose(many.sampler_logprobs, few.sampler_logprobs, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_slots_and_ring_sizes_change_no_draw_at_random_shapes(tiny_model, tiny_params, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    num_prompts, width, length, samples = (int(rng.integers(*span)) for span in ((1, 6), (1, 8), (2, 50), (1, 5)))
    tokens = rng.integers(2, tiny_model.vocab_size, (num_prompts, width), dtype=np.int32)
    batch = PromptBatch(tokens=tokens, lengths=rng.integers(1, width + 1, num_prompts, dtype=np.int32))
    plain = draw(tiny_params, batch, seed, tiny_model, settings(length=length), samples)
    monkeypatch.setattr(ring, "MIN_SIZE", 4)
    monkeypatch.setattr(sampler, "MIN_SLOTS", 2)
    for max_slots in {1, int(rng.integers(1, num_prompts * samples + 1)), num_prompts * samples + 3}:
        found = draw(tiny_params, batch, seed, tiny_model, settings(length=length), samples, max_slots=max_slots)
        np.testing.assert_array_equal(found.tokens, plain.tokens)
        np.testing.assert_array_equal(found.lengths, plain.lengths)
        np.testing.assert_allclose(found.sampler_logprobs, plain.sampler_logprobs, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("int8_cache", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_cache_that_grows_draws_what_a_wide_one_draws(tiny_model, tiny_params, prompts, monkeypatch, int8_cache):
    tiny_model = dataclasses.replace(tiny_model, int8_cache=int8_cache)
    wide = draw(tiny_params, prompts, 4, tiny_model, settings(length=40), samples=5, max_slots=4)
    monkeypatch.setattr(ring, "MIN_SIZE", 8)
    assert ring.sizes(39) == (10, 20, 40)
    grown = draw(tiny_params, prompts, 4, tiny_model, settings(length=40), samples=5, max_slots=4)
    np.testing.assert_array_equal(wide.tokens, grown.tokens)
    np.testing.assert_allclose(wide.sampler_logprobs, grown.sampler_logprobs, atol=1e-5)


def test_slot_schedule():
    """Many slots are halved more often than few, and those of short completions never."""
    assert sampler.slot_schedule(256, 1024) == (128, 64)
    assert sampler.slot_schedule(33, 1024) == (17, 9)
    assert sampler.slot_schedule(256, 100) == ()


@pytest.mark.slow
def test_the_last_rows_are_decoded_in_fewer_slots(tiny_model, tiny_params, prompts, monkeypatch):
    def draw_rows():
        return draw(tiny_params, prompts, 4, tiny_model, settings(length=24), samples=6, max_slots=12)

    plain = draw_rows()
    monkeypatch.setattr(ring, "MIN_SIZE", 4)
    monkeypatch.setattr(sampler, "MIN_SLOTS", 3)
    assert sampler.slot_schedule(12, 24) == (6, 3)
    steps = []

    def count(decoding, state, ring_size):
        steps.append((state.row.size, int((state.row < 18).sum())))
        return advance(decoding, state, ring_size)

    advance = sampler._Decoding.advance  # private: `sample` does not return its steps
    monkeypatch.setattr(sampler._Decoding, "advance", count)
    with jax.disable_jit():
        found = draw_rows()
    np.testing.assert_array_equal(found.tokens, plain.tokens)
    slots = [num_slots for num_slots, _ in steps]
    assert slots == sorted(slots, reverse=True)
    assert set(slots) == {12, 6, 3}
    assert all(num_live <= num_slots for num_slots, num_live in steps)
    assert sum(slots) < 12 * len(slots) * 0.9


@pytest.mark.parametrize(
    ("num_shards", "samples"), [(8, 1), *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((2, 4), (4, 5)))]
)
def test_shards_join_to_the_unsharded_draw(tiny_model, tiny_params, prompts, num_shards, samples):
    expected = sample(tiny_params, prompts, 4, tiny_model, settings(), samples=samples)
    shards = [
        sample(
            tiny_params, prompts, 4, tiny_model, settings(), samples=samples, shard_index=index, num_shards=num_shards
        )
        for index in range(num_shards)
    ]
    joined = np.concatenate([shard.tokens for shard in shards])[: 3 * samples]
    np.testing.assert_array_equal(expected.tokens, joined)


@pytest.mark.slow
def test_vmapped_policies_draw_what_each_draws_alone(tiny_model, tiny_params, prompts, monkeypatch):
    monkeypatch.setattr(ring, "MIN_SIZE", 4)
    monkeypatch.setattr(sampler, "MIN_SLOTS", 2)
    other = jax.tree.map(lambda leaf: leaf * 1.3, tiny_params)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), tiny_params, other)

    def draw_rows(params, vmap_axis_name=None):
        options = {"samples": 4, "max_slots": 5, "vmap_axis_name": vmap_axis_name}
        return sample(params, prompts, 6, tiny_model, settings(length=30), **options)

    found = jax.vmap(lambda params: draw_rows(params, "students"), axis_name="students")(both)
    for index, params in enumerate((tiny_params, other)):
        np.testing.assert_array_equal(found.tokens[index], draw_rows(params).tokens)


@pytest.mark.parametrize(
    "change",
    [{}, *(pytest.param(change, marks=pytest.mark.slow) for change in ({"int8_cache": True}, {"window_tokens": 4}))],
)
def test_scanned_layers_draw_what_unrolled_ones_draw(tiny_model, prompts, monkeypatch, change):
    """Through rings that widen and slots that are refilled and halved."""
    monkeypatch.setattr(ring, "MIN_SIZE", 4)
    monkeypatch.setattr(sampler, "MIN_SLOTS", 3)
    windows = {"layers_with_window": (1, 4), "window_rope_theta": 100.0}
    unrolled = dataclasses.replace(tiny_model, num_layers=5, **windows, **{"window_tokens": 64} | change)
    params = parameters.init_params(unrolled, jax.random.key(1))
    scanned = dataclasses.replace(unrolled, scans_decoding=True)
    expected, found = (
        sample(params, prompts, 4, model, settings(length=24), samples=6, max_slots=6) for model in (unrolled, scanned)
    )
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.sampler_logprobs, expected.sampler_logprobs, atol=1e-5)


def test_a_wider_bucket_changes_nothing(tiny_model, tiny_params, prompts):
    wide = PromptBatch(tokens=np.pad(prompts.tokens, ((0, 0), (0, 4)), constant_values=9), lengths=prompts.lengths)
    narrow = sample(tiny_params, prompts, 5, tiny_model, settings())
    padded = sample(tiny_params, wide, 5, tiny_model, settings())
    np.testing.assert_array_equal(narrow.tokens, padded.tokens)
