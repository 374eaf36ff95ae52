"""What decoding looks back at: a layer's keys and values, as they are or rounded to 8-bit integers.

A decoding step reads the whole cache of every row. One of about half the bytes leaves room for nearly twice the rows,
and is read in about half the time where the compiler converts it as it reads. Each key and each value has a scale of
its own, so that rounding errs by at most 1/254 of its largest number; scores and weights are multiplied by the scales,
which is less work than multiplying the cache.
Letters as in `decoder.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.parallel.sharding import constrain

SCALE_DTYPE = jnp.float32
_LARGEST = 127


class KVCache(NamedTuple):
    """One layer's keys and values of every slot seen so far: in the model's dtype, or int8 with scales.

    Heads come before slots: a decoding step then reads each head's keys as one
    contiguous matrix, and slots of keys last, as the product with a query takes them:
    the CPU backend would copy them first, at up to eight times the cost. Layers are
    separate arrays, so that a step writes its slot in place and reads the rest where it lies.
    """

    key: jax.Array  # [B, K, H, S]
    value: jax.Array  # [B, K, S, H]
    key_scale: jax.Array | None = None  # [B, K, S] float32: times the int8 key is the key
    value_scale: jax.Array | None = None  # [B, K, S] float32


_SLOTS_AXES = 3, 2, 2, 2  # of a cache's arrays


def rounded(cache: KVCache) -> KVCache:
    """The cache, its keys and values as int8 with scales."""
    key, key_scale = _round(cache.key, axis=2)
    value, value_scale = _round(cache.value, axis=3)
    return KVCache(key, value, key_scale, value_scale)


def _round(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    x = x.astype(SCALE_DTYPE)
    scale = jnp.max(jnp.abs(x), axis=axis, keepdims=True) / _LARGEST
    whole = jnp.round(x / jnp.where(scale > 0, scale, 1))
    return whole.astype(jnp.int8), jnp.squeeze(scale, axis)


def write(cache: KVCache, key: jax.Array, value: jax.Array, first_slot: jax.Array | int) -> KVCache:
    """The cache with keys [B, K, H, T] and values [B, K, T, H] in its slots from `first_slot` on."""
    new = KVCache(key, value) if cache.key_scale is None else rounded(KVCache(key, value))

    def one(axis: int, leaf: jax.Array, new_leaf: jax.Array) -> jax.Array:
        leaf = jax.lax.dynamic_update_slice_in_dim(leaf, new_leaf, first_slot, axis)
        return constrain(leaf, "rows", "kv_heads", *(None,) * (leaf.ndim - 2))

    return each(one, cache, new)


def each(function: Callable[..., jax.Array], *caches: KVCache) -> KVCache:
    """`function(axis of the slots, that array of each cache)` for each array of the caches."""
    arrays: list[Any] = [
        None if leaves[0] is None else function(axis, *leaves)
        for axis, *leaves in zip(_SLOTS_AXES, *caches, strict=True)
    ]
    return KVCache(*arrays)
