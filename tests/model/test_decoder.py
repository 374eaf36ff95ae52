import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.model import decoder, layout, parameters
from soar_jax.model.config import RopeScaling
from soar_jax.model.kv_cache import KVCache, StackedCache


# Unrolled; with a scan for the full forward; and with scans for both.
@pytest.mark.parametrize(
    ("num_layers", "scans_decoding"), [(2, False), *(pytest.param(6, s, marks=pytest.mark.slow) for s in (False, True))]
)
def test_cached_decoding_equals_the_full_forward(tiny_model, num_layers, scans_decoding):
    model = dataclasses.replace(tiny_model, num_layers=num_layers, scans_decoding=scans_decoding)
    params = parameters.init_params(model, jax.random.key(1))
    tokens = jax.random.randint(jax.random.key(2), (2, 7), 0, model.vocab_size)
    positions = jnp.tile(jnp.arange(7), (2, 1))
    full, _ = decoder.hidden_states(params, model, tokens=tokens, positions=positions, key_valid=jnp.ones((2, 7), bool))
    params = decoder.decoding_params(params, model)  # as the sampler does
    hidden, cache = decoder.hidden_states(
        params,
        model,
        tokens=tokens[:, :4],
        positions=positions[:, :4],
        key_valid=jnp.ones((2, 4), bool),
        keep_cache=True,
    )
    np.testing.assert_allclose(hidden, full[:, :4], atol=1e-5)

    def add_slots(layer):
        key = jnp.pad(layer.key, ((0, 0), (0, 0), (0, 0), (0, 3)))
        return KVCache(key, jnp.pad(layer.value, ((0, 0), (0, 0), (0, 3), (0, 0))))

    if scans_decoding:
        cache = StackedCache(arrays=jax.vmap(add_slots)(cache), num_rows=2, num_slots=7)
    else:
        cache = tuple(map(add_slots, cache))
    for slot in range(4, 7):
        hidden, cache = decoder.hidden_states(
            params,
            model,
            tokens=tokens[:, slot : slot + 1],
            positions=positions[:, slot : slot + 1],
            key_valid=jnp.ones((2, 7), bool),
            cache=cache,
            first_slot=slot,
        )
        np.testing.assert_allclose(hidden[:, 0], full[:, slot], atol=1e-5)


@pytest.mark.slow
def test_padding_between_prompt_and_completion_is_invisible(tiny_model, tiny_params):
    tokens = jnp.array([[3, 5, 7, 2]])
    full, _ = decoder.hidden_states(
        tiny_params, tiny_model, tokens=tokens, positions=jnp.arange(4)[None], key_valid=jnp.ones((1, 4), bool)
    )
    padded = jnp.array([[3, 5, 9, 9, 7, 2]])
    positions = jnp.array([[0, 1, 2, 3, 2, 3]])
    valid = jnp.array([[True, True, False, False, True, True]])
    hidden, _ = decoder.hidden_states(tiny_params, tiny_model, tokens=padded, positions=positions, key_valid=valid)
    np.testing.assert_allclose(hidden[:, [0, 1, 4, 5]], full, atol=1e-5)


# How models of other families differ from Llama.
VARIANTS = {
    "joined norms after each block": {
        "has_pre_norms": False,
        "has_post_norms": True,
        "has_qk_norm": True,
        "qk_norm_joins_heads": True,
    },
    "layers without rope": {"layers_without_rope": (1,)},
    "windows and yarn": {
        "layers_with_window": (0,),
        "window_tokens": 3,
        "window_rope_theta": 1e3,
        "rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_max_position_tokens=32, rotation_factor=1.2),
    },
}


def randomized(params):
    """Parameters with random norms, whose initial values hide mistakes."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(9), len(leaves))
    return structure.unflatten(
        [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_sharded_heads_change_neither_logits_nor_gradients(tiny_model, name):
    model = dataclasses.replace(tiny_model, **VARIANTS[name])
    params = randomized(parameters.init_params(model, jax.random.key(1)))
    tokens = jax.random.randint(jax.random.key(2), (2, 7), 0, model.vocab_size)
    positions, valid = jnp.tile(jnp.arange(7), (2, 1)), jnp.ones((2, 7), bool)

    def total(params):
        hidden, _ = decoder.hidden_states(params, model, tokens=tokens, positions=positions, key_valid=valid)
        return jnp.sum(jnp.sin(decoder.logits(params, model, hidden)))

    expected = jax.jit(jax.value_and_grad(total))(params)
    mesh = parallel.make_mesh(1, 1, 1, 2)
    with jax.set_mesh(mesh):
        found = jax.jit(jax.value_and_grad(total))(layout.shard_params(mesh, model, params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_a_layer_without_rope_ignores_positions(tiny_model, tiny_params):
    tokens, valid = jnp.array([[3, 5, 7, 2]]), jnp.ones((1, 4), bool)

    def hidden(model, step):
        positions = step * jnp.arange(4)[None]
        return decoder.hidden_states(tiny_params, model, tokens=tokens, positions=positions, key_valid=valid)[0]

    without = dataclasses.replace(tiny_model, layers_without_rope=(0, 1))
    np.testing.assert_array_equal(hidden(without, 1), hidden(without, 5))
    assert np.abs(hidden(tiny_model, 1) - hidden(tiny_model, 5)).max() > 1e-3


def test_parameter_table_matches_initialised_parameters(tiny_model):
    params = parameters.init_params(tiny_model, jax.random.key(0))
    wanted = parameters.abstract_params(tiny_model)
    jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or pytest.fail(str(b)), params, wanted)
    assert parameters.num_parameters(tiny_model) == sum(leaf.size for leaf in jax.tree.leaves(params))
