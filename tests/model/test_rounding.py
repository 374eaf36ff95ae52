import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from soar_jax import parallel
from soar_jax.model import decoder, lora, parameters, rounding
from soar_jax.model.lora import FrozenBase
from soar_jax.model.rounding import cast_params, round_array, round_stacked
from soar_jax.rl.losses import LossSettings, completion_mask, policy_logprobs
from soar_jax.rl.train_step import OptimizerSettings, init_train_state, make_optimizer, train_step
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch


def cast(x, name="query", layers=0):
    return round_stacked(jnp.asarray(x), "bfloat16", name, layers=layers)


def weights(*shape, seed=0):
    return 0.02 * jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("position", [2**-8, 0.1, 0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("value", [0.0177001953125, -3.5])  # exact in bfloat16
def test_rounding_is_right_on_average(position, value):
    step = 2.0 ** (np.floor(np.log2(abs(value))) - 7)  # to the next larger magnitude
    exact = np.sign(value) * (abs(value) + position * step)
    rounded = np.asarray(cast(np.full((512, 512), exact, np.float32)), np.float64)
    neighbours = {value, np.sign(value) * (abs(value) + step)}
    assert set(np.unique(rounded)) == neighbours
    error = (rounded.mean() - exact) / step
    standard_error = np.sqrt(position * (1 - position)) / 512
    assert abs(error) < 4 * standard_error
    assert abs(np.round(position) - position) == 0.5 or abs(error) < abs(np.round(position) - position) / 2  # nearest's


def test_rounding_is_right_on_average_along_every_axis():
    exact = np.full((4, 256, 256), 1 + 0.25 * 2**-7, np.float32)
    up = np.asarray(cast(exact, layers=jnp.arange(4)), np.float64) > 1
    for axes, count in (((1, 2), 256**2), ((0, 2), 4 * 256), ((0, 1), 4 * 256)):
        assert np.abs(up.mean(axis=axes) - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / count)


@pytest.mark.filterwarnings("ignore:invalid value")  # of NumPy, for signalling NaNs
def test_values_that_are_bfloat16_stay():
    every = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    rounded = np.asarray(cast(every.astype(np.float32)))
    assert (np.isnan(rounded) == np.isnan(every)).all()
    np.testing.assert_array_equal(rounded.view(np.uint16)[~np.isnan(every)], every.view(np.uint16)[~np.isnan(every)])
    once = cast(weights(64, 64))
    np.testing.assert_array_equal(cast(once.astype(jnp.float32), "another"), once)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_every_nan_stays_one():
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], np.uint32)
    many = np.tile(bits.view(np.float32), 1000)  # each at many dithers
    full = (slice(None),)
    assert np.isnan(np.asarray(cast(many), np.float32)).all()
    assert np.isnan(round_array(many, "bfloat16", "query", 0, shape=many.shape, part=full).astype(np.float32)).all()


def test_other_dtypes_are_cast_as_they_are():
    x = weights(8, 8)
    assert round_stacked(x, "float32", "query", layers=0) is x
    half = x.astype(jnp.bfloat16)
    assert round_stacked(half, "bfloat16", "query", layers=0) is half
    np.testing.assert_array_equal(round_stacked(half, "float32", "query", layers=0), half.astype(jnp.float32))


def test_layers_are_rounded_alike_in_a_stack_and_alone():
    stacked = weights(5, 16, 3, 8)
    expected = cast(stacked, layers=jnp.arange(5))
    for layer in range(5):
        np.testing.assert_array_equal(cast(stacked[layer], layers=layer), expected[layer])
    scanned = jax.lax.scan(lambda _, item: (None, cast(item[0], layers=item[1])), None, (stacked, jnp.arange(5)))[1]
    np.testing.assert_array_equal(scanned, expected)


def test_students_are_rounded_alike():
    one = weights(32, 32)
    students = jax.vmap(cast)(jnp.stack([one, 2 * one, one]))
    np.testing.assert_array_equal(students[0], cast(one))
    np.testing.assert_array_equal(students[1], 2 * cast(one))  # twice the values have the same fractions
    np.testing.assert_array_equal(students[2], cast(one))


@pytest.mark.parametrize("spec", [PartitionSpec("fsdp"), PartitionSpec(None, "fsdp")])
def test_shards_are_rounded_as_the_whole(spec):
    mesh = parallel.make_mesh(1, 1, 2, 1)
    x = weights(16, 24)
    sharded = jax.device_put(x, NamedSharding(mesh, spec))
    program = jax.jit(cast).lower(sharded).compile()
    np.testing.assert_array_equal(program(sharded), cast(x))
    text = program.as_text()
    assert "u32[8,24]" in text or "u32[16,12]" in text  # each device computes the dither of its shard
    assert "u32[16,24]" not in text
    assert "all-gather" not in text


def test_layers_and_names_have_dithers_of_their_own():
    x = jnp.full((256, 256), 1 + 0.5 * 2**-7)
    up = [np.asarray(cast(x, name, layer) > 1) for name in ("query", "key") for layer in (0, 1)]
    for index, one in enumerate(up):
        for other in up[:index]:
            assert abs((one == other).mean() - 0.5) < 4 * 0.5 / 256
            assert abs((one[:, 1:] == other[:, :-1]).mean() - 0.5) < 4 * 0.5 / 256


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((40,), (slice(None),)),
        ((40,), (slice(10, 30),)),
        ((600, 700), (slice(None), slice(None))),  # several blocks
        ((12, 4, 8), (slice(3, 9), slice(0, 4), slice(4, None))),
    ],
)
def test_numpy_rounds_as_jax(shape, part):
    x = weights(3, *shape)
    expected = cast(x, layers=jnp.arange(3))
    for layer in range(3):
        own = np.asarray(x[layer])[part]
        found = round_array(own, "bfloat16", "query", layer=layer, shape=shape, part=part)
        np.testing.assert_array_equal(found, np.asarray(expected[layer])[part])


def test_numpy_rounds_a_model_as_programs_do(tiny_model, tiny_params):
    rounded = rounding.round_arrays(jax.device_get(tiny_params), "bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(rounded)} == {"bfloat16"}
    jax.tree.map(np.testing.assert_array_equal, rounded, jax.device_get(cast_params(tiny_params, "bfloat16")))


def test_the_gradient_is_that_of_a_cast():
    x, factor = weights(8, 8), jax.random.normal(jax.random.key(3), (8, 8), jnp.bfloat16)
    found = jax.grad(lambda x: jnp.sum(cast(x) * factor, dtype=jnp.float32))(x)
    expected = jax.grad(lambda x: jnp.sum(x.astype(jnp.bfloat16) * factor, dtype=jnp.float32))(x)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).min() > 0


def hidden(params, model, **options):
    tokens = jnp.arange(12).reshape(2, 6) % model.vocab_size
    positions = jnp.broadcast_to(jnp.arange(6), (2, 6))
    states, _ = decoder.hidden_states(
        params, model, tokens=tokens, positions=positions, key_valid=jnp.ones((2, 6), bool), **options
    )
    return states


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [2, 6])  # unrolled and scanned
def test_a_layers_cast_is_that_of_the_whole_model(tiny_model, num_layers):
    model = dataclasses.replace(tiny_model, num_layers=num_layers, dtype="bfloat16")
    params = parameters.init_params(dataclasses.replace(model, dtype="float32"), jax.random.key(0))
    rounded = cast_params(params, "bfloat16")
    in_training = rounded | {"layers": params["layers"]}  # layers are cast where they are used
    expected = hidden(rounded, model)
    for remat in ("none", "layers"):
        np.testing.assert_array_equal(hidden(in_training, model, remat=remat), expected)


WIDE = {"num_layers": 1, "vocab_size": 64, "d_model": 64, "hidden_dim": 128, "head_dim": 16}
OPTIMIZER = OptimizerSettings(b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0, max_grad_norm=1.0)
LOSS = LossSettings(temperature=1.0, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=1024)


def train_batch(model):
    drawn = np.random.default_rng(0).integers(0, model.vocab_size, (4, 16), dtype=np.int32)
    prompts = PromptBatch(tokens=drawn[:, :4], lengths=np.full(4, 4, np.int32))
    completions = {"tokens": drawn[:, 4:], "lengths": np.full(4, 12, np.int32)}
    completions["prompt_of"] = np.arange(4, dtype=np.int32)
    rollouts = RolloutBatch(prompts=prompts, sampler_logprobs=np.zeros((4, 12), np.float32), **completions)
    return TrainBatch(rollouts=rollouts, advantages=np.array([1, -1, 1, -1], np.float32))


def gain(model, checkpoint, frozen_base=None, learning_rate=1e-5):
    """Rise of the rewarded rows' log-probability in ten steps, in float32 with the weights that programs compute with.

    Two matrices have 1e-3 between neighbours in bfloat16, of which ten steps of 1e-5 are a tenth.
    """
    batch = train_batch(model)
    step = jax.jit(functools.partial(train_step, model=model, loss=LOSS, optimizer=OPTIMIZER, rows_per_micro_batch=4))

    @jax.jit
    def logprob(weights):
        params = jax.tree.map(
            lambda leaf: leaf.astype(jnp.float32), lora.decoder_params(weights, frozen_base, model=model)
        )
        logprobs = policy_logprobs(
            params,
            dataclasses.replace(model, dtype="float32"),
            batch.rollouts,
            temperature=1.0,
            chunk_tokens=LOSS.chunk_tokens,
        )
        return jnp.sum(logprobs * completion_mask(batch.rollouts) * (batch.advantages > 0)[:, None])

    state = init_train_state(checkpoint, make_optimizer(OPTIMIZER))
    before = logprob(state.weights)
    for _ in range(10):
        state, _ = step(state, batch, learning_rate, frozen_base=frozen_base)
    return float(logprob(state.weights) - before)


@pytest.fixture(scope="module")
def checkpoint(tiny_model):
    model = dataclasses.replace(tiny_model, **WIDE)
    params = parameters.init_params(model, jax.random.key(0))
    return model, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32), params)


@pytest.mark.slow
def test_ten_steps_from_a_bfloat16_checkpoint_are_not_lost(checkpoint, monkeypatch):
    model, params = checkpoint
    exact, bfloat16 = gain(model, params), dataclasses.replace(model, dtype="bfloat16")
    assert exact > 0.1
    assert abs(gain(bfloat16, params) / exact - 1) < 0.05
    monkeypatch.setattr(rounding, "round_stacked", lambda x, dtype, name, layers: x.astype(dtype))
    assert gain(bfloat16, params) < 0.5 * exact  # rounding to nearest


@pytest.mark.slow
def test_ten_steps_of_adapters_are_not_lost(checkpoint):
    model, params = checkpoint
    adapters = lora.init_adapters(lora.LoRASection(rank=4), model, jax.random.key(1))
    exact = gain(model, adapters, FrozenBase(params, jnp.float32(2.0)))
    base = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    found = gain(dataclasses.replace(model, dtype="bfloat16"), adapters, FrozenBase(base, jnp.float32(2.0)))
    assert exact > 1e-3
    assert abs(found / exact - 1) < 0.05
