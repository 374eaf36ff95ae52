"""The gradient over micro-batches, against slow references and against other ways to compute the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.config.policy_sections import LoRASection
from soar_jax.model import lora, parameters
from soar_jax.model.lora import FrozenBase
from soar_jax.rl.gradient import accumulated_gradient
from soar_jax.rl.losses import LossSettings, completion_widths, policy_gradient_loss, policy_logprobs
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch, map_rows

LOSS = LossSettings(temperature=0.8, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=5)


def with_reference(batch, reference, model):
    """The batch with the log-probabilities of a reference, of all rows at once."""
    logprobs = policy_logprobs(
        reference, model, batch.rollouts, temperature=LOSS.temperature, chunk_tokens=LOSS.chunk_tokens
    )
    return batch.replace(reference_logprobs=logprobs)


def numpy_logits(params, model, ids):
    """The decoder on one unpadded row, written out in float64 NumPy with loops over positions and heads."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def norm(x, scale):
        return x / np.sqrt((x**2).mean() + model.norm_eps) * scale

    def rotate(x, position):
        half = model.head_dim // 2
        out = x.copy()
        for i in range(half):
            angle = position * model.rope_theta ** (-i / half)
            out[i] = x[i] * np.cos(angle) - x[i + half] * np.sin(angle)
            out[i + half] = x[i + half] * np.cos(angle) + x[i] * np.sin(angle)
        return out

    xs = [params["embedding"][token] for token in ids]
    for layer in range(model.num_layers):
        p = {name: stacked[layer] for name, stacked in params["layers"].items()}
        normed = [norm(x, p["attention_norm"]) for x in xs]
        keys = [[rotate(n @ p["key"][:, k], t) for k in range(model.num_kv_heads)] for t, n in enumerate(normed)]
        values = [[n @ p["value"][:, k] for k in range(model.num_kv_heads)] for n in normed]
        out = []
        for t, x in enumerate(xs):
            attended = np.zeros(model.d_model)
            for head in range(model.num_heads):
                k = head // (model.num_heads // model.num_kv_heads)
                query = rotate(normed[t] @ p["query"][:, head], t)
                scores = np.array([query @ keys[s][k] for s in range(t + 1)]) / np.sqrt(model.head_dim)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                attended += sum(w * values[s][k] for s, w in enumerate(weights)) @ p["out"][head]
            x = x + attended
            n = norm(x, p["mlp_norm"])
            gate = n @ p["gate"]
            out.append(x + (gate / (1 + np.exp(-gate)) * (n @ p["up"])) @ p["down"])
        xs = out
    return np.stack([norm(x, params["final_norm"]) @ params["unembedding"] for x in xs])


def numpy_loss(params, model, batch):
    """-sum of advantage * logp over rows and tokens, a row at a time."""
    total = 0.0
    rollouts = batch.rollouts
    for row, advantage in enumerate(batch.advantages):
        index = rollouts.prompt_of[row]
        prompt = rollouts.prompts.tokens[index, : rollouts.prompts.lengths[index]].tolist()
        completion = rollouts.tokens[row, : rollouts.lengths[row]].tolist()
        logits = numpy_logits(params, model, prompt + completion)[len(prompt) - 1 : -1] / LOSS.temperature
        logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        total -= advantage * sum(logprobs[t, token] for t, token in enumerate(completion))
    return total


def test_loss_and_gradient_equal_a_slow_numpy_reference(tiny_model, tiny_params, batch):
    loss, _, gradient = accumulated_gradient(
        tiny_params, batch, frozen_base=None, model=tiny_model, settings=LOSS, rows_per_micro_batch=2
    )
    assert loss == pytest.approx(numpy_loss(tiny_params, tiny_model, batch) / 6, rel=1e-5)
    # central differences along random directions
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), tiny_params)
        step = 1e-5

        def moved(sign, direction=direction, step=step):
            shifted = jax.tree.map(lambda p, d: np.asarray(p, np.float64) + sign * step * d, tiny_params, direction)
            return numpy_loss(shifted, tiny_model, batch) / 6

        slope = (moved(1) - moved(-1)) / (2 * step)
        dots = jax.tree.map(lambda g, d: np.sum(np.asarray(g, np.float64) * d), gradient, direction)
        assert sum(jax.tree.leaves(dots)) == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("rows", [4, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (1, 2, 6, 64))])
def test_micro_batches_and_skipped_rows_change_nothing(tiny_model, tiny_params, batch, rows):
    def full_batch_loss(params):
        return policy_gradient_loss(params, batch, model=tiny_model, settings=LOSS)[0] / 6

    value, gradient = jax.value_and_grad(full_batch_loss)(tiny_params)
    loss, _, accumulated = accumulated_gradient(
        tiny_params, batch, frozen_base=None, model=tiny_model, settings=LOSS, rows_per_micro_batch=rows
    )
    assert loss == pytest.approx(float(value), abs=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), gradient, accumulated)


@pytest.mark.parametrize(
    ("num_buckets", "limit", "widths"),
    [(1, 512, (512,)), (4, 1024, (256, 512, 768, 1024)), (3, 10, (4, 7, 10)), (10**12, 2, (1, 2))],
)
def test_widths_are_evenly_spaced_up_to_the_limit(num_buckets, limit, widths):
    assert completion_widths(num_buckets, limit) == widths


@pytest.mark.parametrize(
    "num_layers", [2, pytest.param(5, marks=pytest.mark.slow)]
)  # unrolled; and scanned, whose gradients are added in place
@pytest.mark.slow
@pytest.mark.parametrize(("kl_coef", "buckets"), [(0.0, 2), (0.1, 8)])
def test_rows_padded_to_buckets_give_the_same_gradient(tiny_model, batch, num_layers, kl_coef, buckets):
    model = dataclasses.replace(tiny_model, num_layers=num_layers)
    weights, reference = (parameters.init_params(model, jax.random.key(seed)) for seed in (1, 2))
    rng = np.random.default_rng(buckets)
    rows = np.tile(np.arange(6), 3)
    many = batch.replace(
        rollouts=map_rows(lambda leaf: leaf[rows], batch.rollouts).replace(
            lengths=rng.integers(1, 6, 18).astype(np.int32)
        ),
        advantages=rng.choice([0.0, 0.5, -1.0], 18).astype(np.float32),
    )
    plain = dataclasses.replace(LOSS, kl_coef=kl_coef)
    if kl_coef:
        many = with_reference(many, reference, model)
    (value, _, gradient), (found, _, by_bucket) = (
        jax.jit(accumulated_gradient, static_argnums=(3, 4, 5))(weights, many, None, model, settings, 2)
        for settings in (plain, dataclasses.replace(plain, completion_buckets=buckets))
    )
    assert found == pytest.approx(float(value), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), by_bucket, gradient)


@pytest.mark.slow
def test_in_place_accumulation_equals_added_gradients(tiny_model, batch):
    """Only deep models scan their layers, and only scanned layers are added in place."""
    deep = dataclasses.replace(tiny_model, num_layers=5)
    weights, settings = parameters.init_params(deep, jax.random.key(1)), dataclasses.replace(LOSS, remat="layers")
    (value, _, gradient), (expected_value, _, expected) = (
        jax.jit(accumulated_gradient, static_argnums=(3, 4, 5, 6))(weights, batch, None, deep, settings, 2, is_batched)
        for is_batched in (False, True)
    )
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(expected["layers"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gradient, expected)


@pytest.mark.slow
def test_kl_term_counts_every_row_once(tiny_model, tiny_params, batch):
    loss = dataclasses.replace(LOSS, kl_coef=0.3)
    reference = jax.tree.map(lambda leaf: leaf * 1.1, tiny_params)
    compared, itself = (with_reference(batch, params, tiny_model) for params in (reference, tiny_params))
    expected = policy_gradient_loss(tiny_params, compared, model=tiny_model, settings=loss)[0] / 6
    value, _, _ = accumulated_gradient(
        tiny_params, compared, frozen_base=None, model=tiny_model, settings=loss, rows_per_micro_batch=4
    )
    plain = policy_gradient_loss(tiny_params, batch, model=tiny_model, settings=LOSS)[0] / 6
    assert value == pytest.approx(float(expected), abs=1e-6)
    assert value > plain + 1e-4
    same, _, _ = accumulated_gradient(
        tiny_params, itself, frozen_base=None, model=tiny_model, settings=loss, rows_per_micro_batch=4
    )
    assert same == pytest.approx(float(plain), abs=1e-6)  # no divergence from itself


def random_batch(model, seed, num_prompts=5, num_rows=14, prompt_slots=4, slots=5):
    """Rows of prompts in any order, a third of them without an advantage, one prompt without rows."""
    rng = np.random.default_rng(seed)
    rollouts = RolloutBatch(
        prompts=PromptBatch(
            tokens=rng.integers(2, model.vocab_size, (num_prompts, prompt_slots)).astype(np.int32),
            lengths=rng.integers(1, prompt_slots + 1, num_prompts).astype(np.int32),
        ),
        prompt_of=rng.integers(0, num_prompts - 1, num_rows).astype(np.int32),
        tokens=rng.integers(2, model.vocab_size, (num_rows, slots)).astype(np.int32),
        lengths=rng.integers(1, slots + 1, num_rows).astype(np.int32),
        sampler_logprobs=rng.normal(-2, 1, (num_rows, slots)).astype(np.float32),
    )
    return TrainBatch(rollouts=rollouts, advantages=rng.choice([0.0, 0.7, -1.2], num_rows).astype(np.float32))


def with_own_prompts(batch):
    """The same rows, each with a copy of its prompt."""
    rollouts = batch.rollouts
    prompts = jax.tree.map(lambda leaf: leaf[rollouts.prompt_of], rollouts.prompts)
    own = np.arange(len(rollouts.lengths), dtype=np.int32)
    return batch.replace(rollouts=rollouts.replace(prompts=prompts, prompt_of=own))


MODELS = {
    "unrolled": {},
    "scanned": {"num_layers": 5},
    "windows": {"layers_with_window": (0,), "window_tokens": 3, "window_rope_theta": 100.0},
}


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "changes",
    [MODELS["unrolled"], *(pytest.param(MODELS[name], marks=pytest.mark.slow) for name in ("scanned", "windows"))],
    ids=MODELS,
)
@pytest.mark.parametrize(
    "changed_loss",
    [{}, pytest.param({"kl_coef": 0.2, "completion_buckets": 2, "remat": "layers"}, marks=pytest.mark.slow)],
)
def test_shared_prompts_give_the_gradient_of_rows_with_their_own(tiny_model, changes, changed_loss, rows):
    model, loss = dataclasses.replace(tiny_model, **changes), dataclasses.replace(LOSS, **changed_loss)
    weights, other = (parameters.init_params(model, jax.random.key(seed)) for seed in (1, 2))
    batch = random_batch(model, seed=rows)
    if loss.kl_coef:
        batch = with_reference(batch, other, model)

    def plain(weights):
        return policy_gradient_loss(weights, with_own_prompts(batch), model=model, settings=loss)[0] / 14

    expected, gradient = jax.jit(jax.value_and_grad(plain))(weights)
    accumulate = jax.jit(accumulated_gradient, static_argnums=(3, 4, 5))
    value, _, found = accumulate(weights, batch, None, model, loss, rows)
    assert value == pytest.approx(float(expected), rel=1e-4)

    def assert_close(found, expected):
        largest = float(jnp.abs(expected).max())  # sums of terms of both signs round by a share of the largest
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=3e-6 * max(1, largest))

    jax.tree.map(assert_close, found, gradient)


@pytest.mark.slow
def test_adapters_have_the_gradient_of_rows_with_own_prompts(tiny_model, tiny_params):
    settings = LoRASection(rank=2, scale=1.0, layers=lora.LAYERS)
    adapters = jax.tree.map(lambda leaf: leaf + 0.05, lora.init_adapters(settings, tiny_model, jax.random.key(1)))
    frozen = FrozenBase(tiny_params, jnp.float32(1.0))
    batch = random_batch(tiny_model, seed=0)
    accumulate = jax.jit(accumulated_gradient, static_argnums=(3, 4, 5))
    (value, _, found), (expected, _, gradient) = (
        accumulate(adapters, rows, frozen, tiny_model, LOSS, 4) for rows in (batch, with_own_prompts(batch))
    )
    assert value == pytest.approx(float(expected), rel=1e-4)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-6), found, gradient)
