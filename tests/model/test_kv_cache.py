import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.model import attention, kv_cache
from soar_jax.model.kv_cache import KVCache
from soar_jax.telemetry import costs


def plain_cache(num_slots=9, seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    sizes = 10.0 ** jnp.arange(-4, num_slots - 4)  # each slot of another size
    key = jax.random.normal(keys[0], (2, 3, 8, num_slots)) * sizes
    value = jax.random.normal(keys[1], (2, 3, num_slots, 8)) * sizes[:, None]
    return KVCache(key, value)


def multiplied(cache):
    """What a rounded cache stands for."""
    return KVCache(cache.key * cache.key_scale[:, :, None], cache.value * cache.value_scale[..., None])


def test_rounding_errs_by_half_a_step_of_each_key_and_value():
    plain = plain_cache()
    rounded = kv_cache.rounded(plain)
    assert (rounded.key.dtype, rounded.value.dtype) == (jnp.int8, jnp.int8)
    for found, exact, axis in zip(multiplied(rounded)[:2], plain[:2], (2, 3), strict=True):
        allowed = jnp.abs(exact).max(axis, keepdims=True) / 254 * 1.0001
        assert (jnp.abs(found - exact) <= allowed).all()


def test_zeros_stay_zeros():
    zeros = jax.tree.map(jnp.zeros_like, plain_cache())
    rounded = kv_cache.rounded(zeros)
    assert all(not np.asarray(leaf).any() for leaf in rounded)


@pytest.mark.parametrize("make", [lambda cache: cache, kv_cache.rounded])
def test_what_is_written_slot_by_slot_is_the_whole(make):
    plain = plain_cache()
    cache = jax.tree.map(jnp.zeros_like, make(plain))
    for slot in range(plain.value.shape[2]):
        key, value = plain.key[..., slot : slot + 1], plain.value[:, :, slot : slot + 1]
        cache = jax.jit(kv_cache.write)(cache, key, value, slot)
    jax.tree.map(np.testing.assert_array_equal, cache, make(plain))


def test_attention_to_a_rounded_cache_is_that_to_what_it_stands_for():
    rounded = kv_cache.rounded(plain_cache(5, seed=1))
    query = jax.random.normal(jax.random.key(3), (2, 6, 4, 8))
    mask = jnp.tril(jnp.ones((2, 4, 5), bool), 1)
    found = attention.attend(query, rounded, mask=mask, scale=0.3)
    np.testing.assert_allclose(
        found, attention.attend(query, multiplied(rounded), mask=mask, scale=0.3), rtol=1e-5, atol=1e-5
    )


def test_a_rounded_cache_is_counted_with_its_scales(tiny_model):
    rounded = dataclasses.replace(tiny_model, int8_cache=True)
    cache = kv_cache.rounded(KVCache(*(jnp.zeros((1, tiny_model.num_kv_heads, *last)) for last in _ends(tiny_model))))
    one_layer = sum(leaf.nbytes for leaf in cache)
    assert costs.cache_bytes_per_token(rounded) == tiny_model.num_layers * one_layer


def _ends(model):
    return (model.head_dim, 1), (1, model.head_dim)
