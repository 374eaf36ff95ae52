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

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.model import attention, kv_cache, layout
from soar_jax.model.config import ModelConfig, RopeScaling
from soar_jax.model.kv_cache import KVCache
from soar_jax.model.lora import LoRALinear
from soar_jax.model.parameters import Params, num_input_axes
from soar_jax.parallel.sharding import constrain, embed_tokens

_MAX_UNROLLED_LAYERS = 4  # shallow models run faster unrolled, deep ones compile faster scanned
_ACTIVATIONS = {"silu": jax.nn.silu, "gelu": jax.nn.gelu}  # gelu by tanh
# What layers keep for the backward pass; the rest is computed again.
REMAT_POLICIES: dict[str, Any] = {
    "none": None,  # keep everything
    "layers": jax.checkpoint_policies.nothing_saveable,  # each layer's input alone
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # and what its matrices gave
}


class _View(NamedTuple):
    """What one layer looks at: all layers have the same, but for those with a window."""

    frequency: jax.Array  # [H/2], rotary
    mask: jax.Array  # [B, T, S] bool
    key_valid: jax.Array  # [B, S] bool


def scans_layers(config: ModelConfig) -> bool:
    """Whether training runs the layers in one scan."""
    return config.num_layers > _MAX_UNROLLED_LAYERS


def unstacked(params: Params, config: ModelConfig) -> Params:
    """Parameters with each layer by itself, as a decoding loop reads them fastest: no slice is made in the loop."""
    params = layout.to_compute_sharding(params, config)
    return params | {"layers": tuple(_layer_params(params, index) for index in range(config.num_layers))}


def _layer_params(params: Params, index: int) -> Params:
    layers = params["layers"]
    return layers[index] if isinstance(layers, tuple) else jax.tree.map(lambda leaf: leaf[index], layers)


def rms_norm(x: jax.Array, scale: jax.Array, config: ModelConfig) -> jax.Array:
    """Root-mean-square norm over the last axis, computed in float32."""
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + config.norm_eps)
    if config.norm_plus_one:
        return (normed * (1 + scale.astype(jnp.float32))).astype(x.dtype)
    return normed.astype(x.dtype) * scale


def rope_frequencies(config: ModelConfig, theta: float, scaling: RopeScaling | None) -> jax.Array:
    """Rotary frequencies [H/2] float32, stretched as `scaling` says."""
    half = config.head_dim // 2
    plain = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is None:
        return plain
    slow = plain / scaling.factor
    if scaling.kind == "linear":
        return slow
    # Turns within the original context: many for fast frequencies, which stay, few for slow ones.
    turns = scaling.original_max_position_tokens * plain / (2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = jnp.clip(kept, 0, 1)
    return kept * plain + (1 - kept) * slow


def rotate(x: jax.Array, positions: jax.Array, frequency: jax.Array) -> jax.Array:
    """Rotary position embedding of x [B, heads, T, H] at positions [B, T] (half-split layout)."""
    half = x.shape[-1] // 2
    angle = positions[:, None, :, None].astype(jnp.float32) * frequency  # [B, 1, T, H/2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x1, x2 = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1).astype(x.dtype)


def _dense(x: jax.Array, layer: Params, name: str) -> jax.Array:
    # x [B, T, I], weight [I, ...] -> [B, T, ...], as one plain matrix product: XLA's CPU
    # backend runs the gradient of that twice as fast as that of the batched form.
    matrix, flat = layer[name], x.reshape(-1, x.shape[-1])
    weight = matrix.weight if isinstance(matrix, LoRALinear) else matrix
    y = flat @ weight.reshape(x.shape[-1], -1)
    if isinstance(matrix, LoRALinear):
        y = y + (flat @ matrix.a) @ matrix.b
    return y.reshape(*x.shape[:-1], *weight.shape[num_input_axes(name) :])


def _layer(
    config: ModelConfig,
    layer: Params,
    x: jax.Array,  # [B, T, D]
    positions: jax.Array,  # [B, T]
    view: _View,
    cache: KVCache | None,
    first_slot: jax.Array | int,
) -> tuple[jax.Array, KVCache]:
    layer = layout.to_compute_sharding(jax.tree.map(lambda leaf: leaf.astype(config.dtype), layer), config)
    normed = rms_norm(x, layer["attention_norm"], config)
    query, key, value = (_heads(config, layer, x=normed, name=name) for name in ("query", "key", "value"))
    query, key = rotate(query, positions, view.frequency), rotate(key, positions, view.frequency)
    key = jnp.swapaxes(key, 2, 3)
    key, value = (constrain(part, "rows", "kv_heads", None, None) for part in (key, value))
    held = KVCache(key, value) if cache is None else kv_cache.write(cache, key, value=value, first_slot=first_slot)
    scale = config.query_scale or config.head_dim**-0.5
    if cache is None and config.attention != attention.PLAIN:
        attended = attention.attend_to_row(
            config.attention, query, key=key, value=value, key_valid=view.key_valid, scale=scale
        )
    else:
        attended = attention.attend(query, held, mask=view.mask, scale=scale)
    attended = jnp.swapaxes(attended, 1, 2)  # [B, T, N, H]
    x = x + _post_norm(config, layer, name="attention", x=_dense(attended.reshape(*x.shape[:2], -1), layer, "out"))
    normed = rms_norm(x, layer["mlp_norm"], config)
    gated = _ACTIVATIONS[config.activation](_dense(normed, layer, "gate")) * _dense(normed, layer, "up")
    x = x + _post_norm(config, layer, name="mlp", x=_dense(gated, layer, "down"))
    return constrain(x, "rows", None, None), held


def _heads(config: ModelConfig, layer: Params, x: jax.Array, name: str) -> jax.Array:
    """Queries, keys or values of x [B, T, D], with their bias and norm where the model has them: [B, heads, T, H]."""
    heads = _dense(x, layer, name)  # [B, T, heads, H]
    if config.has_qkv_bias:
        heads = heads + layer[f"{name}_bias"]
    if config.has_qk_norm and name != "value":
        heads = rms_norm(heads, layer[f"{name}_norm"], config)
    return jnp.swapaxes(heads, 1, 2)


def _post_norm(config: ModelConfig, layer: Params, name: str, x: jax.Array) -> jax.Array:
    return rms_norm(x, layer[f"{name}_post_norm"], config) if config.has_post_norms else x


def hidden_states(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,  # [B, T] int32
    positions: jax.Array,  # [B, T] int32
    key_valid: jax.Array,  # [B, S] bool: slots that hold a token (S = T without a cache)
    cache: tuple[KVCache, ...] | None = None,
    first_slot: jax.Array | int = 0,
    keep_cache: bool = False,
    remat: str = "none",
    key_positions: jax.Array | None = None,  # [B, S], where slots are not filled in the order of positions
) -> tuple[jax.Array, tuple[KVCache, ...]]:
    """Final hidden states [B, T, D] after the last norm, and the layers' keys and values.

    With a cache the T tokens are written to slots first_slot .. first_slot+T-1 and
    look at all valid slots up to their own. Without one, a fresh cache of the T slots is
    returned where `keep_cache` asks for it. `remat`, of REMAT_POLICIES, is for training.
    """
    if key_positions is None:
        query_slots = first_slot + jnp.arange(tokens.shape[1])
        mask = key_valid[:, None, :] & (jnp.arange(key_valid.shape[1]) <= query_slots[:, None])
        key_positions = jnp.cumsum(key_valid, axis=1) - 1
    else:
        mask = key_valid[:, None, :] & (key_positions[:, None, :] <= positions[:, :, None])
    view_of = _views(config, mask, key_valid=key_valid, positions=positions, key_positions=key_positions)
    x = embed_tokens(params["embedding"], tokens)
    if config.scale_embeddings:
        x = x * jnp.asarray(config.d_model**0.5, x.dtype)

    def layer_step(
        x: jax.Array, layer: Params, has_window: jax.Array | bool, layer_cache: KVCache | None
    ) -> tuple[jax.Array, KVCache]:
        return _layer(
            config, layer, x=x, positions=positions, view=view_of(has_window), cache=layer_cache, first_slot=first_slot
        )

    is_scanned = cache is None and not keep_cache and scans_layers(config)
    if remat != "none":
        layer_step = jax.checkpoint(layer_step, policy=REMAT_POLICIES[remat], prevent_cse=not is_scanned)
    if is_scanned:
        windows = jnp.array([index in config.layers_with_window for index in range(config.num_layers)])

        def one_layer(x: jax.Array, item: tuple[Params, jax.Array]) -> tuple[jax.Array, None]:
            return layer_step(x, *item, None)[0], None

        x, _ = jax.lax.scan(one_layer, x, (params["layers"], windows))
        return rms_norm(x, params["final_norm"], config), ()
    new_cache = []
    for index in range(config.num_layers):
        has_window = index in config.layers_with_window
        layer_cache = None if cache is None else cache[index]
        x, layer_cache = layer_step(x, _layer_params(params, index), has_window, layer_cache)
        new_cache.append(layer_cache)
    return rms_norm(x, params["final_norm"], config), tuple(new_cache)


def _views(
    config: ModelConfig, mask: jax.Array, key_valid: jax.Array, positions: jax.Array, key_positions: jax.Array
) -> Callable[[jax.Array | bool], _View]:
    """The view of a layer by whether it has a window."""
    everything = _View(rope_frequencies(config, config.rope_theta, config.rope_scaling), mask, key_valid)
    if not config.layers_with_window:
        return lambda has_window: everything
    near = positions[:, :, None] - key_positions[:, None, :] < config.window_tokens  # [B, T, S]
    window = _View(rope_frequencies(config, config.window_rope_theta, None), mask & near, key_valid)
    return lambda has_window: jax.tree.map(lambda w, e: jnp.where(has_window, w, e), window, everything)


def unembedding_params(params: Params, config: ModelConfig) -> Params:
    """The parameters that `logits` takes, alone."""
    name = "embedding" if config.tie_embeddings else "unembedding"
    return {name: params[name]}


def logits(params: Params, config: ModelConfig, hidden: jax.Array) -> jax.Array:
    """Next-token logits [..., V] in float32 from hidden states [..., D]."""
    if config.tie_embeddings:
        embedding = constrain(params["embedding"], "vocab", None)
        return jnp.einsum("...d,vd->...v", hidden, embedding, preferred_element_type=jnp.float32)
    matrix = params["unembedding"]
    if isinstance(matrix, LoRALinear):
        added = jnp.einsum("...r,rv->...v", hidden @ matrix.a, matrix.b, preferred_element_type=jnp.float32)
        return added + jnp.einsum("...d,dv->...v", hidden, matrix.weight, preferred_element_type=jnp.float32)
    return jnp.einsum("...d,dv->...v", hidden, matrix, preferred_element_type=jnp.float32)


def select_logits(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """The logits [...] of tokens [...], out of logits [..., V].

    By comparison, not by a gather: the TPU compiler cannot partition one along a vocabulary that is shared out.
    """
    is_chosen = jnp.arange(logits.shape[-1]) == tokens[..., None]
    return jnp.sum(jnp.where(is_chosen, logits, 0), axis=-1)


def row_positions(prompt_lengths: jax.Array, num_prompt_slots: int, num_completion_slots: int) -> jax.Array:
    """Positions [B, T+C] of every slot of a row: see the module's layout."""
    prompt = jnp.broadcast_to(jnp.arange(num_prompt_slots), (prompt_lengths.shape[0], num_prompt_slots))
    completion = prompt_lengths[:, None] + jnp.arange(num_completion_slots)
    return jnp.concatenate([prompt, completion], axis=1)
