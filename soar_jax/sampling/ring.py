"""KV cache of rows that start at different steps: prompt slots, then a ring of completion slots.

Each decoding step writes one slot, the same for all rows whatever their ages:

    slot   0 .. T-1            T .. T+W-1
    holds  the row's prompt    at T+p: the token read at the latest step s with s % W == p

A row that starts at step b attends only to ring slots written from step b on. W slots suffice while no row is older
than W steps; then the ring is widened, so that attention reads no more than the oldest row needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from soar_jax.integers import ceil_div
from soar_jax.model import kv_cache
from soar_jax.model.kv_cache import KVCache, StackedCache

Cache = tuple[KVCache, ...] | StackedCache

MIN_SIZE = 64  # narrower rings save less than another loop costs to compile
_MAX_SIZES = 3


def sizes(num_tokens: int) -> tuple[int, ...]:
    """Ring sizes for `num_tokens` completion tokens, ascending, each twice the one before."""
    count = 1
    while count < _MAX_SIZES and ceil_div(num_tokens, 2**count) >= MIN_SIZE:
        count += 1
    smallest = max(1, ceil_div(num_tokens, 2 ** (count - 1)))
    return tuple(smallest * 2**index for index in range(count))


def of_prompts(layers: tuple[KVCache, ...] | KVCache) -> Cache:
    """The cache of prompts as prefill returns it, one for each layer or one with stacked arrays [L, ...]."""
    if not isinstance(layers, KVCache):
        return layers
    return StackedCache(arrays=layers, num_rows=layers.key.shape[1], num_slots=layers.key.shape[-1])


def empty(prompt_cache: Cache, num_rows: int, ring_size: int, *, widest: int) -> Cache:
    """A zero cache of T + `ring_size` slots for `num_rows` rows, where `prompt_cache` has T slots.

    Stacked arrays are allocated with a ring of `widest` slots, to which they widen.
    """
    if isinstance(prompt_cache, StackedCache):
        layer = jax.eval_shape(prompt_cache.layer, jnp.int32(0))
        (one,) = cast(tuple[KVCache], jax.eval_shape(lambda: empty((layer,), num_rows, widest, widest=widest)))
        arrays = jax.tree.map(lambda leaf: jnp.zeros((len(prompt_cache.arrays.key), *leaf.shape), leaf.dtype), one)
        return StackedCache(arrays=arrays, num_rows=num_rows, num_slots=prompt_cache.num_slots + ring_size)

    def zeros(slot_axis: int, prompt_leaf: jax.Array) -> jax.Array:
        shape = list(prompt_leaf.shape)
        shape[0], shape[slot_axis] = num_rows, shape[slot_axis] + ring_size
        return jnp.zeros(shape, prompt_leaf.dtype)

    return _map_arrays(zeros, prompt_cache)


def write_prompts(cache: Cache, prompt_cache: Cache, prompts: jax.Array, starts: jax.Array) -> Cache:
    """Copies the cache of prompt `prompts[b]` into each row b that starts (`prompts` [B] int32, `starts` [B] bool)."""

    def write(slot_axis: int, leaf: jax.Array, prompt_leaf: jax.Array) -> jax.Array:
        old = jax.lax.slice_in_dim(leaf, 0, prompt_leaf.shape[slot_axis], axis=slot_axis)
        new = jnp.where(starts.reshape(-1, *(1,) * (leaf.ndim - 1)), prompt_leaf[prompts], old)
        return jax.lax.dynamic_update_slice_in_dim(leaf, new, 0, axis=slot_axis)

    return _map_arrays(write, cache, prompt_cache)


def widen(cache: Cache, num_prompt_slots: int) -> Cache:
    """Doubles the ring by a second copy of it: a step's slot in the wider ring is in one of the two copies."""

    def double(slot_axis: int, leaf: jax.Array) -> jax.Array:
        ring = jax.lax.slice_in_dim(leaf, num_prompt_slots, leaf.shape[slot_axis], axis=slot_axis)
        return jnp.concatenate([leaf, ring], axis=slot_axis)

    return _map_arrays(double, cache)


def take_rows(cache: Cache, rows: jax.Array) -> Cache:
    """The cache of some rows, by index."""
    return _map_arrays(lambda _, leaf: leaf[rows], cache)


def quantize(cache: Cache) -> Cache:
    """Rounds a cache to int8 with scales."""
    if isinstance(cache, StackedCache):
        return dataclasses.replace(cache, arrays=jax.vmap(kv_cache.quantize)(cache.arrays))
    return tuple(map(kv_cache.quantize, cache))


def _map_arrays(function: Callable[..., jax.Array], *caches: Any) -> Cache:
    """Applies `function(slot axis, array of each cache)` to every array of every layer, if stacked in place."""
    if isinstance(caches[0], StackedCache):

        def new_layer(index: jax.Array, cache: StackedCache) -> KVCache:
            return kv_cache.map_arrays(function, *(each.layer(index) for each in (cache, *caches[1:])))

        def change(index: jax.Array, cache: StackedCache) -> StackedCache:
            return cache.with_layer(index, new_layer(index, cache))

        shape = jax.eval_shape(new_layer, jnp.int32(0), caches[0]).key.shape
        changed = jax.lax.fori_loop(0, len(caches[0].arrays.key), change, caches[0])
        return dataclasses.replace(changed, num_rows=shape[0], num_slots=shape[-1])
    return tuple(kv_cache.map_arrays(function, *layers) for layers in zip(*caches, strict=True))


def attention_mask(
    step: jax.Array, start_step: jax.Array, prompt_lengths: jax.Array, num_prompt_slots: int, ring_size: int
) -> tuple[jax.Array, jax.Array]:
    """Mask and positions of the slots that rows attend to at a step, including the slot that it writes.

    Args:
      step: [] int32.
      start_step: [B] int32, the step at which each row read its first completion token.
      prompt_lengths: [B] int32.

    Returns:
      The mask [B, T + W] bool and the positions [B, T + W] int32 of the tokens in the slots.
    """
    ring_slots = jnp.arange(ring_size)
    written = step - (step - ring_slots) % ring_size  # [W] the step that wrote each slot
    age = written - start_step[:, None]  # [B, W] completion tokens that the row had read before
    prompt = jnp.broadcast_to(jnp.arange(num_prompt_slots), (start_step.shape[0], num_prompt_slots))
    mask = jnp.concatenate([prompt < prompt_lengths[:, None], age >= 0], axis=1)
    return mask, jnp.concatenate([prompt, prompt_lengths[:, None] + age], axis=1)
