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

from typing import NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params

_MAX_UNROLLED_LAYERS = 4  # shallow models run faster unrolled, deep ones compile faster scanned
_MASKED = -1e30  # finite, so that a row with no visible key gives no NaN


class KVCache(NamedTuple):
    """One layer's keys and values of every slot seen so far, in the model's dtype.

    Heads come before slots: a decoding step then reads each head's keys as one
    contiguous matrix. Layers are separate arrays, so that a step writes its slot in
    place and reads the rest where it lies.
    """

    key: jax.Array  # [B, K, S, H]
    value: jax.Array  # [B, K, S, H]


def grow_cache(cache: tuple[KVCache, ...], copies: int, num_new_slots: int) -> tuple[KVCache, ...]:
    """Repeats every row `copies` times and adds empty slots: [B * copies, K, S + new, H]."""
    padding = ((0, 0), (0, 0), (0, num_new_slots), (0, 0))
    return jax.tree.map(lambda leaf: jnp.pad(jnp.repeat(leaf, copies, axis=0), padding), cache)


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
    cache: KVCache | None,
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
    cache: tuple[KVCache, ...] | None = None,
    first_slot: jax.Array | int = 0,
    keep_cache: bool = False,
) -> tuple[jax.Array, tuple[KVCache, ...]]:
    """Final hidden states [B, T, D] after the last norm, and the layers' keys and values.

    With a cache the T tokens are written to slots first_slot .. first_slot+T-1 and
    look at all valid slots up to their own. Without one, a fresh cache of the T slots is
    returned where `keep_cache` asks for it.
    """
    query_slots = first_slot + jnp.arange(tokens.shape[1])
    mask = key_valid[:, None, :] & (jnp.arange(key_valid.shape[1]) <= query_slots[:, None])
    x = params["embedding"][tokens]

    def layer_step(x: jax.Array, layer: Params, layer_cache: KVCache | None) -> tuple[jax.Array, KVCache]:
        return _layer(config, layer, x, positions, mask, layer_cache, first_slot)

    if cache is None and not keep_cache and config.num_layers > _MAX_UNROLLED_LAYERS:
        x, _ = jax.lax.scan(lambda x, layer: (layer_step(x, layer, None)[0], None), x, params["layers"])
        return rms_norm(x, params["final_norm"], config.norm_eps), ()
    new_cache = []
    for index in range(config.num_layers):
        layer = jax.tree.map(lambda leaf, index=index: leaf[index], params["layers"])
        x, layer_cache = layer_step(x, layer, None if cache is None else cache[index])
        new_cache.append(layer_cache)
    return rms_norm(x, params["final_norm"], config.norm_eps), tuple(new_cache)


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
