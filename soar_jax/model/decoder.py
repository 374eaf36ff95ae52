"""The decoder: pure functions from a parameter pytree and token ids to logits.

One slot layout serves training, prefill and decoding. A row is a right-padded prompt
followed by its completion, which starts at the same slot in every row:

    slot       0 .. T-1                      T .. T+C-1
    content    prompt tokens, then padding   completion tokens
    position   0 .. length-1                 length .. length+C-1

Slots give causality, positions give the rotary angle, and a mask hides padding.

Einsum letters: B batch, T query slot, S key slot, K key heads, G queries per key
head, H head dim, D model dim, F hidden dim, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params

_MASKED = -1e30  # finite, so that a row with no visible key gives no NaN


class KVCache(NamedTuple):
    """Keys and values of every slot seen so far, in the model's dtype.

    Heads come before slots: a decoding step then reads each head's keys as one
    contiguous matrix.
    """

    key: jax.Array  # [L, B, K, S, H]
    value: jax.Array  # [L, B, K, S, H]


def empty_cache(config: ModelConfig, batch: int, num_slots: int) -> KVCache:
    """A zeroed cache for `batch` rows of `num_slots` slots."""
    shape = (config.num_layers, batch, config.num_kv_heads, num_slots, config.head_dim)
    return KVCache(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype))


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """Root-mean-square norm over the last axis, computed in float32."""
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + eps)
    return (x32 * inverse).astype(x.dtype) * scale


def rotate(x: jax.Array, positions: jax.Array, theta: float) -> jax.Array:
    """Rotary position embedding of x [B, heads, T, H] at positions [B, T] (half-split layout)."""
    half = x.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[:, None, :, None].astype(jnp.float32) * frequency  # [B, 1, T, H/2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x1, x2 = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1).astype(x.dtype)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Grouped-query attention.

    Args:
      query: [B, N, T, H].
      key, value: [B, K, S, H]; K divides N.
      mask: [B, T, S] bool, true where a query may look.

    Returns:
      [B, N, T, H], of the value's dtype; the softmax is float32.
    """
    batch, num_heads, steps, head_dim = query.shape
    query = query.reshape(batch, key.shape[1], -1, steps, head_dim)
    scores = jnp.einsum("bkgth,bksh->bkgts", query, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores * head_dim**-0.5, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    attended = jnp.einsum("bkgts,bksh->bkgth", weights, value)
    return attended.reshape(batch, num_heads, steps, head_dim)


def _dense(x: jax.Array, weight: jax.Array) -> jax.Array:
    # x [B, T, I], weight [I, ...] -> [B, T, ...], as one plain matrix product: XLA's CPU
    # backend runs the gradient of that twice as fast as that of the batched form.
    flat = x.reshape(-1, x.shape[-1]) @ weight.reshape(weight.shape[0], -1)
    return flat.reshape(*x.shape[:-1], *weight.shape[1:])


def _layer(
    config: ModelConfig,
    layer: Params,
    x: jax.Array,  # [B, T, D]
    positions: jax.Array,  # [B, T]
    mask: jax.Array,  # [B, T, S]
    cache: KVCache | None,  # one layer's, [B, K, S, H]
    first_slot: jax.Array | int,
) -> tuple[jax.Array, KVCache]:
    normed = rms_norm(x, layer["attention_norm"], config.norm_eps)
    query, key, value = (
        jnp.swapaxes(_dense(normed, layer[name]), 1, 2) for name in ("query", "key", "value")
    )  # [B, N or K, T, H]
    query = rotate(query, positions, config.rope_theta)
    key = rotate(key, positions, config.rope_theta)
    if cache is not None:
        start = (0, 0, first_slot, 0)
        key = jax.lax.dynamic_update_slice(cache.key, key, start)
        value = jax.lax.dynamic_update_slice(cache.value, value, start)
    attended = jnp.swapaxes(attend(query, key, value, mask), 1, 2)  # [B, T, N, H]
    out = layer["out"].reshape(-1, config.d_model)
    x = x + _dense(attended.reshape(*x.shape[:2], -1), out)
    normed = rms_norm(x, layer["mlp_norm"], config.norm_eps)
    gated = jax.nn.silu(_dense(normed, layer["gate"])) * _dense(normed, layer["up"])
    return x + _dense(gated, layer["down"]), KVCache(key, value)


def hidden_states(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,  # [B, T] int32
    positions: jax.Array,  # [B, T] int32
    key_valid: jax.Array,  # [B, S] bool: slots that hold a token (S = T without a cache)
    cache: KVCache | None = None,
    first_slot: jax.Array | int = 0,
) -> tuple[jax.Array, KVCache]:
    """Final hidden states [B, T, D] after the last norm, and keys and values [L, B, K, S, H].

    With a cache the T tokens are written to slots first_slot .. first_slot+T-1 and
    look at all valid slots up to their own.
    """
    query_slots = first_slot + jnp.arange(tokens.shape[1])
    mask = key_valid[:, None, :] & (jnp.arange(key_valid.shape[1]) <= query_slots[:, None])
    x = params["embedding"][tokens]

    def body(x: jax.Array, inputs: tuple[Params, Any]) -> tuple[jax.Array, KVCache]:
        layer, layer_cache = inputs
        return _layer(config, layer, x, positions, mask, layer_cache, first_slot)

    x, new_cache = jax.lax.scan(body, x, (params["layers"], cache), unroll=_unroll(config))
    return rms_norm(x, params["final_norm"], config.norm_eps), new_cache


def _unroll(config: ModelConfig) -> int:
    # Shallow models run faster unrolled; deep ones compile faster scanned.
    return config.num_layers if config.num_layers <= 4 else 1


def logits(params: Params, config: ModelConfig, hidden: jax.Array) -> jax.Array:
    """Next-token logits [..., V] in float32 from hidden states [..., D]."""
    if config.tie_embeddings:
        return jnp.einsum("...d,vd->...v", hidden, params["embedding"], preferred_element_type=jnp.float32)
    return jnp.einsum("...d,dv->...v", hidden, params["unembedding"], preferred_element_type=jnp.float32)


def row_positions(prompt_lengths: jax.Array, num_prompt_slots: int, num_completion_slots: int) -> jax.Array:
    """Positions [B, T+C] of every slot of a row: see the module's layout."""
    prompt = jnp.broadcast_to(jnp.arange(num_prompt_slots), (prompt_lengths.shape[0], num_prompt_slots))
    completion = prompt_lengths[:, None] + jnp.arange(num_completion_slots)
    return jnp.concatenate([prompt, completion], axis=1)
