"""Full training or low-rank adapters on a frozen base (LoRA, arXiv 2106.09685).

The weights of a policy are a full parameter pytree or adapters. Adapters are small: the teacher and a population of
students share one base in memory.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.config.policy_sections import LoRASection
from soar_jax.errors import require
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params, ParamSpec, num_input_axes, parameter_table
from soar_jax.model.rounding import cast_params, round_stacked

LAYERS = ("query", "key", "value", "out", "gate", "up", "down")
UNEMBEDDING = "unembedding"


class Adapter(NamedTuple):
    """Low-rank update of a linear layer's [I, O] matrix; leading axes are layers, or students and layers."""

    a: jax.Array  # [..., I, R]
    b: jax.Array  # [..., R, O], initially zero


class LoRALinear(NamedTuple):
    """A linear layer with its adapter; replaces the plain matrix in the decoder's parameters."""

    weight: jax.Array  # [..., inputs, outputs], one or more axes each
    a: jax.Array  # [..., I, R], times the scale
    b: jax.Array  # [..., R, O]


class FrozenBase(NamedTuple):
    """The base parameters that all policies of a run share and none trains."""

    params: Params
    scale: jax.Array  # [] float32


def init_adapters(lora_config: LoRASection, model: ModelConfig, key: jax.Array) -> Params:
    """Initialises float32 adapters that change nothing: `a` is normal with variance 1 / I, `b` is zero.

    Each adapter's key is folded in by its name, so adding one does not change the others.

    Raises:
      SettingsError: as `check`.
    """
    check(lora_config, model)

    def init(name: str, spec: ParamSpec) -> Adapter:
        num_stacked = 0 if name == UNEMBEDDING else 1
        stacked, shape = spec.shape[:num_stacked], spec.shape[num_stacked:]
        inputs, outputs = math.prod(shape[: num_input_axes(name)]), math.prod(shape[num_input_axes(name) :])
        noise = jax.random.normal(
            jax.random.fold_in(key, zlib.crc32(name.encode())), (*stacked, inputs, lora_config.rank), jnp.float32
        )
        return Adapter(noise / math.sqrt(inputs), jnp.zeros((*stacked, lora_config.rank, outputs), jnp.float32))

    return map_adapters(init, lora_config.layers, parameter_table(model))


def map_adapters(function: Callable[..., Any], names: Collection[str], params: Params) -> Params:
    """Builds an adapter pytree: `function(name, leaf)` of the named linear layers of `params`, or of its table."""
    layers = {name: function(name, params["layers"][name]) for name in names if name != UNEMBEDDING}
    unembedding = {UNEMBEDDING: function(UNEMBEDDING, params[UNEMBEDDING])} if UNEMBEDDING in names else {}
    return {"layers": layers, **unembedding}


def check(lora_config: LoRASection, model: ModelConfig) -> None:
    """Checks the adapters of a config against a model.

    Raises:
      SettingsError: a layer does not exist, or the rank or the scale is out of range.
    """
    names = LAYERS if model.tie_embeddings else (*LAYERS, UNEMBEDDING)
    rank, scale = lora_config.rank, lora_config.scale
    require(len(lora_config.layers) > 0, "lora.layers is empty; name at least one linear layer")
    for name in lora_config.layers:
        require(name in names, f"lora.layers holds {name!r}; this model has {', '.join(names)}")
    require(1 <= rank <= model.d_model, f"lora.rank is {rank}; it must be 0 (off) to {model.d_model}")
    require(scale > 0, f"lora.scale is {scale}; it must be more than 0")


def decoder_params(weights: Params, frozen_base: FrozenBase | None, model: ModelConfig) -> Params:
    """Returns the decoder's parameters in the model's dtype: the weights, or the frozen base with adapters.

    Trained weights are stored in float32, where small updates are not rounded away; `cast_params` keeps them too.
    """
    if frozen_base is None:
        return cast_params(weights, model.dtype)

    def scale(adapter: Adapter) -> Adapter:
        return adapter._replace(a=adapter.a * frozen_base.scale)

    scaled = jax.tree.map(scale, weights, is_leaf=lambda node: isinstance(node, Adapter))  # in float32: rounded once

    def add_adapter(_: str, weight: jax.Array, adapter: Adapter) -> LoRALinear:
        return LoRALinear(weight, adapter.a, adapter.b)

    return _replace_adapted(add_adapter, frozen_base.params, cast_params(scaled, model.dtype))


def merge(weights: Params, frozen_base: FrozenBase | None) -> Params:
    """Merges adapters into their base: plain parameters as in `parameter_table`, rounded once to the base's dtype."""
    if frozen_base is None:
        return weights

    def merge_layer(name: str, weight: Any, adapter: Adapter) -> Any:
        added = jnp.matmul(adapter.a, adapter.b, precision="highest") * frozen_base.scale
        merged = weight.astype(jnp.float32) + added.reshape(weight.shape)
        return round_stacked(merged, weight.dtype, name, layers=0 if name == UNEMBEDDING else jnp.arange(len(weight)))

    return _replace_adapted(merge_layer, frozen_base.params, weights)


def _replace_adapted(function: Callable[[str, Any, Adapter], Any], params: Params, adapters: Params) -> Params:
    """Replaces each weight that has an adapter by `function(name, weight, adapter)`."""
    flat = adapters["layers"] | {name: leaf for name, leaf in adapters.items() if name != "layers"}
    replaced = map_adapters(lambda name, weight: function(name, weight, flat[name]), flat, params)
    return params | replaced | {"layers": params["layers"] | replaced["layers"]}
