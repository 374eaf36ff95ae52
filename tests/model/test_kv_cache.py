import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.model import attention, kv_cache
from soar_jax.model.kv_cache import KVCache, StackedCache
from soar_jax.telemetry import costs


def plain_cache(num_slots=9, seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    sizes = 10.0 ** jnp.arange(-4, num_slots - 4)  # another magnitude in each slot
    key = jax.random.normal(keys[0], (2, 3, 8, num_slots)) * sizes
    value = jax.random.normal(keys[1], (2, 3, num_slots, 8)) * sizes[:, None]
    return KVCache(key, value)


def dequantize(cache):
    """The float cache that an int8 cache represents."""
    return KVCache(cache.key * cache.key_scale[:, :, None], cache.value * cache.value_scale[..., None])


@pytest.mark.slow
def test_rounding_errs_by_at_most_half_a_step():
    plain = plain_cache()
    quantized = kv_cache.quantize(plain)
    assert (quantized.key.dtype, quantized.value.dtype) == (jnp.int8, jnp.int8)
    for found, exact, axis in zip(dequantize(quantized)[:2], plain[:2], (2, 3), strict=True):
        allowed = jnp.abs(exact).max(axis, keepdims=True) / 254 * 1.0001
        assert (jnp.abs(found - exact) <= allowed).all()


@pytest.mark.slow
def test_zeros_stay_zeros():
    zeros = jax.tree.map(jnp.zeros_like, plain_cache())
    quantized = kv_cache.quantize(zeros)
    assert all(not np.asarray(leaf).any() for leaf in quantized)


@pytest.mark.parametrize("make", [lambda cache: cache, kv_cache.quantize])
def test_writes_slot_by_slot_give_the_full_cache(make):
    plain = plain_cache()
    cache = jax.tree.map(jnp.zeros_like, make(plain))
    for slot in range(plain.value.shape[2]):
        key, value = plain.key[..., slot : slot + 1], plain.value[:, :, slot : slot + 1]
        cache = jax.jit(kv_cache.write)(cache, key, value, slot)
    jax.tree.map(np.testing.assert_array_equal, cache, make(plain))


def test_a_stacked_cache_uses_the_first_rows_and_slots():
    arrays = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(kv_cache.quantize(plain_cache(seed=n)) for n in range(3))
    )
    cache = StackedCache(arrays=arrays, num_rows=1, num_slots=4)
    layer = cache.layer(jnp.int32(2))
    np.testing.assert_array_equal(layer.key, arrays.key[2, :1, ..., :4])
    np.testing.assert_array_equal(layer.value, arrays.value[2, :1, :, :4])
    assert (layer.key_scale.shape, layer.value_scale.shape) == ((1, 3, 4), (1, 3, 4))
    doubled = cache.with_layer(jnp.int32(1), jax.tree.map(lambda leaf: 2 * leaf, layer))
    np.testing.assert_array_equal(doubled.layer(jnp.int32(1)).key_scale, 2 * layer.key_scale)
    for name in ("key", "value"):
        changed = np.asarray(getattr(doubled.arrays, name) != getattr(arrays, name))
        assert changed[1, :1].any()
        assert not changed[1, 1:].any()
        assert not changed[[0, 2]].any()


def test_attention_to_an_int8_cache_equals_that_to_its_values():
    quantized = kv_cache.quantize(plain_cache(5, seed=1))
    query = jax.random.normal(jax.random.key(3), (2, 6, 4, 8))
    mask = jnp.tril(jnp.ones((2, 4, 5), bool), 1)
    found = attention.attend(query, quantized, mask=mask, scale=0.3)
    np.testing.assert_allclose(
        found, attention.attend(query, dequantize(quantized), mask=mask, scale=0.3), rtol=1e-5, atol=1e-5
    )


def test_cache_bytes_include_the_scales_of_int8(tiny_model):
    quantized = dataclasses.replace(tiny_model, int8_cache=True)
    num_heads, head_dim = tiny_model.num_kv_heads, tiny_model.head_dim
    cache = kv_cache.quantize(KVCache(jnp.zeros((1, num_heads, head_dim, 1)), jnp.zeros((1, num_heads, 1, head_dim))))
    one_layer = sum(leaf.nbytes for leaf in cache)
    assert costs.cache_bytes_per_token(quantized) == tiny_model.num_layers * one_layer
