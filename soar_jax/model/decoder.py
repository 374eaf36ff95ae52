"""The decoder: pure functions from a parameter pytree and token ids to logits.

Training, prefill and decoding use one slot layout. A row is a right-padded prompt followed by its completion, which
starts at the same slot in every row:

    slot       0 .. T-1                      T .. T+C-1
    content    prompt tokens, then padding   completion tokens
    position   0 .. length-1                 length .. length+C-1

Slots give causality, positions give the rotary angle, and a mask hides padding.

Einsum letters: B batch, T query slot, S key slot, N query heads, K key heads, G queries per key head, H head dim,
D model dim, F hidden dim, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from soar_jax.model import attention, kv_cache, layout
from soar_jax.model.config import ModelConfig, RopeScaling
from soar_jax.model.kv_cache import KVCache, StackedCache
from soar_jax.model.lora import LoRALinear
from soar_jax.model.parameters import Params, num_input_axes
from soar_jax.model.products import float32_product
from soar_jax.model.rounding import cast_params
from soar_jax.parallel.sharding import constrain, embed_tokens

_ACTIVATIONS = {"silu": jax.nn.silu, "gelu": jax.nn.gelu}  # gelu: the tanh approximation
# Activations that layers keep for the backward pass; the rest is recomputed.
REMAT_POLICIES: dict[str, Any] = {
    "none": None,  # all are kept
    "layers": jax.checkpoint_policies.nothing_saveable,  # each layer's input
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # and the outputs of its matrix products
}

# One for each layer; or, where layers are scanned, one with stacked arrays [L, ...], which decoding updates in place.
# None where it is not kept.
LayerCaches = tuple[KVCache | None, ...] | KVCache | StackedCache | None

_FULL, _WINDOW, _NO_ROPE = range(3)  # kinds of layers: full attention, a sliding window, full attention without RoPE


class Rotation(NamedTuple):
    """Cosines and sines of the rotary position embedding, [B, T, H/2] float32."""

    cos: jax.Array
    sin: jax.Array

    @staticmethod
    def of(positions: jax.Array, num_positions: int, frequency: jax.Array, factor: float = 1.0) -> Rotation:
        """Looks up cosines and sines of positions [B, T] < `num_positions` at frequencies [H/2], times `factor`.

        Larger positions, of free slots, are clipped. The table depends on no state of a loop, so XLA computes it once
        before the decoding steps. Computed in every step, it took a sixth of the time of the embedded model on a CPU.
        """
        angle = jnp.arange(num_positions, dtype=jnp.float32)[:, None] * frequency
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        table = Rotation(cos, sin) if factor == 1 else Rotation(cos * factor, sin * factor)
        return jax.tree.map(lambda leaf: leaf.at[positions].get(mode="clip"), table)


class _LayerContext(NamedTuple):
    """Rotation and attention mask of a kind of layers."""

    rotation: Rotation
    mask: jax.Array  # [B, T, S] bool
    key_valid: jax.Array  # [B, S] bool


class _CachePlace(NamedTuple):
    """Where a layer writes its keys and values."""

    cache: KVCache | StackedCache | None  # of the layer, or of all; None: a new one
    first_slot: jax.Array | int  # where the T slots begin
    layer: jax.Array  # [] int32

    def write(self, key: jax.Array, value: jax.Array) -> tuple[KVCache | StackedCache, KVCache]:
        """Returns the cache with new keys and values, and that of this layer, which is the same or a part of it."""
        if isinstance(self.cache, StackedCache):
            arrays = kv_cache.write(self.cache.arrays, key, value=value, first_slot=self.first_slot, layer=self.layer)
            stacked = dataclasses.replace(self.cache, arrays=arrays)
            return stacked, stacked.layer(self.layer)
        cache = KVCache(key, value)
        if self.cache is not None:
            cache = kv_cache.write(self.cache, key, value=value, first_slot=self.first_slot)
        return cache, cache


def decoding_params(params: Params, config: ModelConfig) -> Params:
    """Gathers parameters for decoding; splits stacked layers, which a loop that does not scan would slice every step.

    Returns:
      The parameters with `layers` as a tuple, or stacked where decoding scans them.
    """
    params = layout.to_compute_sharding(params, config)
    if config.scans_decoding:
        return params
    return params | {"layers": tuple(_layer_params(params, index) for index in range(config.num_layers))}


def _layer_params(params: Params, index: int) -> Params:
    layers = params["layers"]
    return layers[index] if isinstance(layers, tuple) else jax.tree.map(lambda leaf: leaf[index], layers)


def rms_norm(x: jax.Array, scale: jax.Array, config: ModelConfig) -> jax.Array:
    """Root-mean-square norm over the last axes, those of `scale`, computed in float32."""
    x32, axes = x.astype(jnp.float32), tuple(range(-scale.ndim, 0))
    normed = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=axes, keepdims=True) + config.norm_eps)
    if config.norm_plus_one:
        return (normed * (1 + scale.astype(jnp.float32))).astype(x.dtype)
    # The product in float32 is the same once rounded, and the gradient of the scale is summed over rows in float32.
    return (normed.astype(x.dtype).astype(jnp.float32) * scale.astype(jnp.float32)).astype(x.dtype)


def rope_frequencies(config: ModelConfig, theta: float, scaling: RopeScaling | None) -> jax.Array:
    """Rotary frequencies [H/2] float32, scaled by `scaling`."""
    half = config.head_dim // 2
    plain = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is None:
        return plain
    slow = plain / scaling.factor
    if scaling.kind == "linear":
        return slow
    kept = _kept_by_place(half, theta, scaling) if scaling.kind == "yarn" else _kept_by_turns(plain, scaling)
    kept = jnp.clip(kept, 0, 1)
    return kept * plain + (1 - kept) * slow


def _kept_by_turns(plain: jax.Array, scaling: RopeScaling) -> jax.Array:
    """Share in which a frequency is kept: all of those with many turns within the original context."""
    turns = scaling.original_max_position_tokens * plain / (2 * math.pi)
    return (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)


def _kept_by_place(half: int, theta: float, scaling: RopeScaling) -> jax.Array:
    """Share in which a frequency is kept: linear in its place between the rounded places of two numbers of turns."""

    def place(turns: float) -> float:
        return half * math.log(scaling.original_max_position_tokens / (turns * 2 * math.pi)) / math.log(theta)

    first = max(math.floor(place(scaling.fast_turns)), 0)
    last = min(math.ceil(place(scaling.slow_turns)), 2 * half - 1)
    return 1 - (jnp.arange(half, dtype=jnp.float32) - first) / (last - first or 0.001)


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
    """Rotary position embedding of x [B, heads, T, H] (half-split layout)."""
    half = x.shape[-1] // 2
    cos, sin = (leaf[:, None] for leaf in rotation)
    x1, x2 = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1).astype(x.dtype)


def _dense(x: jax.Array, layer: Params, name: str) -> jax.Array:
    # x [B, T, I], weight [I, ...] -> [B, T, ...]. Flattened to one matrix product, whose gradient XLA's CPU backend
    # runs twice as fast as that of the batched form.
    matrix, flat = layer[name], x.reshape(-1, x.shape[-1])
    weight = matrix.weight if isinstance(matrix, LoRALinear) else matrix
    weight_matrix = weight.reshape(x.shape[-1], -1)
    if isinstance(matrix, LoRALinear):
        # Rounded after the sum: an adapter's product is small beside the base's.
        base = float32_product("mi,io->mo", flat, weight_matrix)
        y = (base + float32_product("mr,ro->mo", flat @ matrix.a, matrix.b)).astype(x.dtype)
    else:
        y = flat @ weight_matrix
    return y.reshape(*x.shape[:-1], *weight.shape[num_input_axes(name) :])


def _layer(
    config: ModelConfig,
    layer: Params,
    x: jax.Array,  # [B, T, D]
    context: _LayerContext,
    place: _CachePlace,
) -> tuple[jax.Array, KVCache | StackedCache]:
    """Computes one layer: the new x, and the cache of the place with the keys and values of the T slots."""
    normed = _norm(config, layer, name="attention_norm", x=x)
    query, key, value = (_heads(config, layer, x=normed, name=name) for name in ("query", "key", "value"))
    query, key = (rotate(heads, context.rotation) for heads in (query, key))
    key = jnp.swapaxes(key, 2, 3)
    key, value = (constrain(heads, "rows", "kv_heads", None, None) for heads in (key, value))
    new_cache, own = place.write(key, value)
    scale = config.query_scale or config.head_dim**-0.5
    if config.attention != attention.PLAIN and (place.cache is None or x.shape[1] > 1):  # not a decoding step
        attended = attention.attend_to_row(
            config.attention,
            query,
            key=own.key,
            value=own.value,
            key_valid=context.key_valid,
            scale=scale,
        )
    else:
        attended = attention.attend(query, own, mask=context.mask, scale=scale)
    attended = jnp.swapaxes(attended, 1, 2)  # [B, T, N, H]
    attended = _dense(attended.reshape(*x.shape[:2], -1), layer, "out")
    x = x + _norm(config, layer, name="attention_post_norm", x=attended)
    normed = _norm(config, layer, name="mlp_norm", x=x)
    gated = _ACTIVATIONS[config.activation](_dense(normed, layer, "gate")) * _dense(normed, layer, "up")
    x = x + _norm(config, layer, name="mlp_post_norm", x=_dense(gated, layer, "down"))
    return constrain(x, "rows", None, None), new_cache


def _heads(config: ModelConfig, layer: Params, x: jax.Array, name: str) -> jax.Array:
    """Projects x [B, T, D] to queries, keys or values [B, heads, T, H], with the model's bias and norm."""
    heads = _dense(x, layer, name)  # [B, T, heads, H]
    if config.has_qkv_bias:
        heads = heads + layer[f"{name}_bias"]
    if config.has_qk_norm and name != "value":
        heads = rms_norm(heads, layer[f"{name}_norm"], config)
    return jnp.swapaxes(heads, 1, 2)


def _norm(config: ModelConfig, layer: Params, name: str, x: jax.Array) -> jax.Array:
    """Applies a norm of a layer, if the model has it."""
    return rms_norm(x, layer[name], config) if name in layer else x


def hidden_states(  # eleven parameters: one forward pass for training, prefill and decoding
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,  # [B, T] int32
    positions: jax.Array,  # [B, T] int32
    key_valid: jax.Array,  # [B, S] bool: slots with a token (S = T without a cache)
    cache: LayerCaches | None = None,
    first_slot: jax.Array | int = 0,
    keep_cache: bool = False,
    remat: str = "none",
    key_positions: jax.Array | None = None,  # [B, S], if slots are not in the order of positions
    prompt_of: jax.Array | None = None,  # [B] int32
) -> tuple[jax.Array, LayerCaches]:
    """Computes the hidden states [B, T, D] after the last norm, and the layers' KV caches.

    With a `cache`, the T tokens are written to slots first_slot .. first_slot+T-1 and attend to all valid slots up to
    their own. Without one, `keep_cache` returns a new cache of the T slots. `remat` (REMAT_POLICIES) is for training.

    With `prompt_of`, the `cache` is one of prompts, of `first_slot` slots: row b continues prompt prompt_of[b]. The
    cache is copied to the rows a layer at a time, and none is returned.

    A `StackedCache` is updated in place.
    """
    context_of = _layer_contexts(config, positions, key_valid, first_slot=first_slot, key_positions=key_positions)
    x = embed_tokens(params["embedding"], tokens)
    if config.scale_embeddings:
        x = x * jnp.asarray(config.d_model**0.5, x.dtype)

    def layer_step(
        x: jax.Array,
        layer: Params,
        index: jax.Array | int,
        kind: jax.Array | int,
        layer_cache: KVCache | StackedCache | None,
    ) -> tuple[jax.Array, KVCache | StackedCache | None]:
        if prompt_of is not None and isinstance(layer_cache, KVCache):
            layer_cache = kv_cache.for_rows(layer_cache, prompt_of, num_slots=x.shape[1])
        x, new_cache = _layer(
            config,
            layout.to_compute_sharding(cast_params(layer, config.dtype, index), config),
            x=x,
            context=context_of(kind),
            place=_CachePlace(layer_cache, first_slot, jnp.asarray(index)),
        )
        return x, new_cache if returns_cache else None

    kinds = [_kind(config, index) for index in range(config.num_layers)]
    returns_cache = keep_cache or (cache is not None and prompt_of is None)
    is_scanned = config.scans_layers and not isinstance(params["layers"], tuple)
    if remat != "none":
        layer_step = jax.checkpoint(layer_step, policy=REMAT_POLICIES[remat], prevent_cse=not is_scanned)
    if is_scanned:
        layers = (params["layers"], jnp.arange(config.num_layers), jnp.array(kinds))
        x, new_caches = _scan(layer_step, x, layers, cache=cast(KVCache | StackedCache | None, cache))
        return rms_norm(x, params["final_norm"], config), new_caches
    new_cache = []
    for index, kind in enumerate(kinds):
        layer_cache = None if cache is None else cast(tuple[KVCache, ...], cache)[index]
        x, layer_new = layer_step(x, _layer_params(params, index), index, kind, layer_cache)
        new_cache.append(cast(KVCache | None, layer_new))
    return rms_norm(x, params["final_norm"], config), tuple(new_cache)


def _scan(
    layer_step: Callable[..., tuple[jax.Array, Any]],
    x: jax.Array,
    layers: tuple[Any, ...],
    *,
    cache: KVCache | StackedCache | None,
) -> tuple[jax.Array, Any]:
    """Scans the layers. Each gets its part of the cache and makes a new one, or gets all of it and updates its part."""
    if isinstance(cache, StackedCache):
        return jax.lax.scan(lambda carry, layer: (layer_step(carry[0], *layer, carry[1]), None), (x, cache), layers)[0]
    return jax.lax.scan(lambda x, layer: layer_step(x, *layer), x, (*layers, cache))


def _kind(config: ModelConfig, layer: int) -> int:
    if layer in config.layers_without_rope:
        return _NO_ROPE
    return _WINDOW if layer in config.layers_with_window else _FULL


def _layer_contexts(
    config: ModelConfig,
    positions: jax.Array,
    key_valid: jax.Array,
    first_slot: jax.Array | int,
    key_positions: jax.Array | None,
) -> Callable[[jax.Array | int], _LayerContext]:
    """Returns a function from the kind of a layer to its context."""
    if key_positions is None:
        query_slots = first_slot + jnp.arange(positions.shape[1])
        mask = key_valid[:, None, :] & (jnp.arange(key_valid.shape[1]) <= query_slots[:, None])
        key_positions = jnp.cumsum(key_valid, axis=1) - 1
    else:
        mask = key_valid[:, None, :] & (key_positions[:, None, :] <= positions[:, :, None])
    factor = 1.0 if config.rope_scaling is None else config.rope_scaling.rotation_factor
    frequency = rope_frequencies(config, config.rope_theta, config.rope_scaling)
    rotation_at = functools.partial(Rotation.of, positions, key_valid.shape[1])
    full = _LayerContext(rotation_at(frequency, factor), mask, key_valid)
    others: dict[int, _LayerContext] = {}
    if config.layers_with_window:
        is_near = positions[:, :, None] - key_positions[:, None, :] < config.window_tokens  # [B, T, S]
        frequency = rope_frequencies(config, config.window_rope_theta, None)  # never scaled
        others[_WINDOW] = _LayerContext(rotation_at(frequency), mask & is_near, key_valid)
    if config.layers_without_rope:
        cos, sin = full.rotation
        others[_NO_ROPE] = full._replace(rotation=Rotation(jnp.ones_like(cos), jnp.zeros_like(sin)))

    def context_of(kind: jax.Array | int) -> _LayerContext:
        context = full
        for other, its_context in others.items():
            context = jax.tree.map(functools.partial(jnp.where, kind == other), its_context, context)
        return context

    return context_of


def unembedding_params(params: Params, config: ModelConfig) -> Params:
    """Returns the subset of the parameters that `logits` uses."""
    name = "embedding" if config.tie_embeddings else "unembedding"
    return {name: params[name]}


def logits(params: Params, config: ModelConfig, hidden: jax.Array) -> jax.Array:
    """Next-token logits [..., V] in float32 from hidden states [..., D]."""
    if config.tie_embeddings:
        embedding = constrain(params["embedding"], "vocab", None)
        return float32_product("...d,vd->...v", hidden, embedding)
    matrix = params["unembedding"]
    if isinstance(matrix, LoRALinear):
        added = float32_product("...r,rv->...v", hidden @ matrix.a, matrix.b)
        return added + float32_product("...d,dv->...v", hidden, matrix.weight)
    return float32_product("...d,dv->...v", hidden, matrix)


def select_logits(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Selects the logits [...] of tokens [...] from logits [..., V].

    Compares instead of gathering: the TPU compiler cannot partition a gather along a sharded vocabulary.
    """
    is_chosen = jnp.arange(logits.shape[-1]) == tokens[..., None]
    return jnp.sum(jnp.where(is_chosen, logits, 0), axis=-1)
