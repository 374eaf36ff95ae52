"""KV cache of a layer, in the model dtype or int8 with scales.

A decoding step reads the full cache of every row. In int8 nearly twice the rows fit, and the cache is read in about
half the time if the compiler fuses the conversion. Every key and every value has its own scale, so rounding errs by at
most 1/254 of its largest entry. Scores and attention weights are multiplied by the scales, which is cheaper than
scaling the cache. Einsum letters as in `decoder.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from soar_jax.parallel.sharding import constrain, take_rows

SCALE_DTYPE = jnp.float32
_LARGEST = 127


class KVCache(NamedTuple):
    """One layer's keys and values: in the model dtype, or int8 with scales.

    Heads come before slots, so that a decoding step reads each head's keys as one contiguous matrix. Keys have their
    slots last, the layout of their product with a query: the CPU backend would transpose them first, at up to eight
    times the cost. A step updates its slot in place: layers are separate arrays, or a `StackedCache`.
    """

    key: jax.Array  # [B, K, H, S]
    value: jax.Array  # [B, K, S, H]
    key_scale: jax.Array | None = None  # [B, K, S] float32; key = int8 key * scale
    value_scale: jax.Array | None = None  # [B, K, S] float32


@flax.struct.dataclass(kw_only=True)
class StackedCache:
    """The caches of all layers in arrays [L, ...], which are as large as they ever need to be.

    Only the first rows and slots of each layer are in use. To grow or to shrink, arrays of another size would need a
    second copy beside them.
    """

    arrays: KVCache  # leaves [L, ...]
    num_rows: int = flax.struct.field(pytree_node=False)  # in use
    num_slots: int = flax.struct.field(pytree_node=False)  # in use

    def layer(self, index: jax.Array) -> KVCache:
        """The part of a layer that is in use."""

        def cut(axis: int, leaf: jax.Array) -> jax.Array:
            sizes = [1, self.num_rows, *leaf.shape[2:]]
            sizes[1 + axis] = self.num_slots
            return jax.lax.dynamic_slice(leaf, [index, *[0] * (leaf.ndim - 1)], sizes)[0]

        return map_arrays(cut, self.arrays)

    def with_layer(self, index: jax.Array, new: KVCache) -> StackedCache:
        """Writes the first rows and slots of a layer."""

        def put(_: int, leaf: jax.Array, new_leaf: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice(leaf, new_leaf[None], [index, *[0] * (leaf.ndim - 1)])

        return dataclasses.replace(self, arrays=map_arrays(put, self.arrays, new))


_SLOT_AXES = 3, 2, 2, 2  # of a cache's arrays


def quantize(cache: KVCache) -> KVCache:
    """Rounds a cache to int8 with scales."""
    key, key_scale = _quantize(cache.key, axis=2)
    value, value_scale = _quantize(cache.value, axis=3)
    return KVCache(key, value, key_scale=key_scale, value_scale=value_scale)


def _quantize(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    x = x.astype(SCALE_DTYPE)
    scale = jnp.max(jnp.abs(x), axis=axis, keepdims=True) / _LARGEST
    quantized = jnp.round(x / jnp.where(scale > 0, scale, 1))
    return quantized.astype(jnp.int8), jnp.squeeze(scale, axis)


def write(
    cache: KVCache, key: jax.Array, value: jax.Array, first_slot: jax.Array | int, layer: jax.Array | None = None
) -> KVCache:
    """Returns the cache with keys [B, K, H, T] and values [B, K, T, H] in the T slots from `first_slot` on.

    Args:
      layer: [] int32, the layer to write to in a cache of stacked arrays; None where the cache is that of one layer.
    """
    new = KVCache(key, value) if cache.key_scale is None else quantize(KVCache(key, value))
    stacked = () if layer is None else (None,)

    def update(axis: int, leaf: jax.Array, new_leaf: jax.Array) -> jax.Array:
        start: list[jax.Array | int] = [0] * leaf.ndim
        start[len(stacked) + axis] = first_slot
        if layer is not None:
            start[0], new_leaf = layer, new_leaf[None]
        leaf = jax.lax.dynamic_update_slice(leaf, new_leaf, start)
        return constrain(leaf, *stacked, "rows", "kv_heads", *(None,) * (new_leaf.ndim - len(stacked) - 2))

    return map_arrays(update, cache, new)


def for_rows(prompt_cache: KVCache, prompt_of: jax.Array, num_slots: int) -> KVCache:
    """Copies the cache of prompt `prompt_of[b]`, with `num_slots` empty slots behind it, for each row b."""

    def copy(slot_axis: int, leaf: jax.Array) -> jax.Array:
        padding = [(0, num_slots if axis == slot_axis else 0) for axis in range(leaf.ndim)]
        return jnp.pad(take_rows(leaf, prompt_of), padding)

    return map_arrays(copy, prompt_cache)


def map_arrays(function: Callable[..., jax.Array], *caches: KVCache) -> KVCache:
    """Applies `function(slot_axis, *arrays)` to each array of the caches, as `jax.tree.map` does."""
    arrays: list[Any] = [
        None if leaves[0] is None else function(axis, *leaves)
        for axis, *leaves in zip(_SLOT_AXES, *caches, strict=True)
    ]
    return KVCache(*arrays)
