"""The cache of rows that begin at different times: the prompt's slots, then a ring of completion slots.

Every row writes a token a step, all rows to the same place, so that a step writes one slot of the cache whatever the
rows' ages:

    slot   0 .. T-1            T .. T+W-1
    holds  the row's prompt    at T+p: the token read at the latest step s with s % W == p

A row that began at step b sees the steps from b on; what earlier rows left in the ring is hidden from it. A ring of W
places is wide enough while no row is older than W steps; then it is made wider, so that attention reads no more than
the oldest row needs.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from soar_jax.model import kv_cache
from soar_jax.model.kv_cache import KVCache

Cache = tuple[KVCache, ...]  # one a layer

_SMALLEST = 64  # narrower rings save less than another loop costs to compile
_MOST_SIZES = 3


def sizes(num_tokens: int) -> tuple[int, ...]:
    """The ring sizes by which a cache grows to hold `num_tokens` completion tokens, each twice the one before."""
    count = 1
    while count < _MOST_SIZES and -(-num_tokens // 2**count) >= _SMALLEST:
        count += 1
    smallest = max(1, -(-num_tokens // 2 ** (count - 1)))
    return tuple(smallest * 2**index for index in range(count))


def empty(prompt_cache: Cache, num_rows: int, num_places: int) -> Cache:
    """A cache for `num_rows` rows with prompts as wide as those of `prompt_cache`: T + places slots."""

    def one(slots: int, prompt_leaf: jax.Array) -> jax.Array:
        shape = list(prompt_leaf.shape)
        shape[0], shape[slots] = num_rows, shape[slots] + num_places
        return jnp.zeros(shape, prompt_leaf.dtype)

    return _layers(one, prompt_cache)


def begin(cache: Cache, prompt_cache: Cache, prompts: jax.Array, begins: jax.Array) -> Cache:
    """Gives rows that begin (`begins` [B] bool) the cache of their prompt (`prompts` [B], an index each)."""

    def one(slots: int, leaf: jax.Array, prompt_leaf: jax.Array) -> jax.Array:
        held = jax.lax.slice_in_dim(leaf, 0, prompt_leaf.shape[slots], axis=slots)
        filled = jnp.where(begins.reshape(-1, *(1,) * (leaf.ndim - 1)), prompt_leaf[prompts], held)
        return jax.lax.dynamic_update_slice_in_dim(leaf, filled, 0, axis=slots)

    return _layers(one, cache, prompt_cache)


def widen(cache: Cache, num_prompt_slots: int) -> Cache:
    """Doubles the ring: a step's place in the wider one is its old place in one of the two copies."""

    def one(slots: int, leaf: jax.Array) -> jax.Array:
        ring = jax.lax.slice_in_dim(leaf, num_prompt_slots, leaf.shape[slots], axis=slots)
        return jnp.concatenate([leaf, ring], axis=slots)

    return _layers(one, cache)


def _layers(function: Callable[..., jax.Array], *caches: Cache) -> Cache:
    """`function(axis of the slots, leaf of each cache)` at every leaf."""
    return tuple(kv_cache.each(function, *layers) for layers in zip(*caches, strict=True))


def visible(
    step: jax.Array, begun: jax.Array, prompt_lengths: jax.Array, num_prompt_slots: int, num_places: int
) -> tuple[jax.Array, jax.Array]:
    """Which slots rows see at a step, the one that it writes counted, and the positions of what they hold.

    Args:
      step: [] int32.
      begun: [B] int32, the step at which each row read its first completion token.
      prompt_lengths: [B] int32.

    Returns:
      [B, T + W] bool and [B, T + W] int32.
    """
    places = jnp.arange(num_places)
    written = step - (step - places) % num_places  # [W] the step that wrote each place
    age = written - begun[:, None]  # [B, W] tokens that the row had read before
    prompt = jnp.broadcast_to(jnp.arange(num_prompt_slots), (begun.shape[0], num_prompt_slots))
    seen = jnp.concatenate([prompt < prompt_lengths[:, None], age >= 0], axis=1)
    return seen, jnp.concatenate([prompt, prompt_lengths[:, None] + age], axis=1)
