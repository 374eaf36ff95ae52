"""What of a decoder is trained: all of it, or low-rank adapters on a frozen base (LoRA, arXiv 2106.09685).

A policy is its *weights*: a full parameter pytree, or adapters. Adapters are small, so a teacher and a whole
population of students share one base in memory.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params, ParamSpec, num_input_axes, parameter_table
from soar_jax.settings import require

LAYERS = ("query", "key", "value", "out", "gate", "up", "down")
UNEMBEDDING = "unembedding"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRASettings:
    """Which layers get an adapter, and of what size."""

    rank: int  # R; 0 trains the whole model instead
    scale: float  # of what adapters add (alpha / rank in other libraries)
    layers: tuple[str, ...]  # of LAYERS, and UNEMBEDDING where it is not tied


class Adapter(NamedTuple):
    """A low-rank addition to a linear layer's [I, O] matrix; leading axes are layers (or students, then layers)."""

    a: jax.Array  # [..., I, R]
    b: jax.Array  # [..., R, O], zero at first


class LoRALinear(NamedTuple):
    """A linear layer with its adapter: what the decoder finds in the place of a plain matrix."""

    weight: jax.Array  # [..., inputs, outputs], each possibly several axes
    a: jax.Array  # [..., I, R], the scale multiplied in
    b: jax.Array  # [..., R, O]


class FrozenBase(NamedTuple):
    """What all policies of a run share and none trains."""

    params: Params
    scale: jax.Array  # [] float32


def init_adapters(settings: LoRASettings, model: ModelConfig, key: jax.Array) -> Params:
    """Fresh float32 adapters, which change nothing: `a` normal with variance 1 / I, `b` zero.

    Each adapter's key is folded in by its name, so adding one does not change the others.

    Raises:
      SettingsError: a layer does not exist, or the rank is larger than one of them.
    """
    check(settings, model)
    table = parameter_table(model)

    def adapter(name: str, spec: ParamSpec) -> Adapter:
        num_stacked = 0 if name == UNEMBEDDING else 1
        stacked, shape = spec.shape[:num_stacked], spec.shape[num_stacked:]
        inputs, outputs = math.prod(shape[: num_input_axes(name)]), math.prod(shape[num_input_axes(name) :])
        noise = jax.random.normal(
            jax.random.fold_in(key, zlib.crc32(name.encode())), (*stacked, inputs, settings.rank), jnp.float32
        )
        return Adapter(noise / math.sqrt(inputs), jnp.zeros((*stacked, settings.rank, outputs), jnp.float32))

    layers = {name: adapter(name, table["layers"][name]) for name in settings.layers if name != UNEMBEDDING}
    top = {UNEMBEDDING: adapter(UNEMBEDDING, table[UNEMBEDDING])} if UNEMBEDDING in settings.layers else {}
    return {"layers": layers, **top}


def check(settings: LoRASettings, model: ModelConfig) -> None:
    """Refuses adapters that this model cannot have.

    Raises:
      SettingsError: names the setting.
    """
    names = LAYERS if model.tie_embeddings else (*LAYERS, UNEMBEDDING)
    require(len(settings.layers) > 0, "lora.layers is empty; name at least one linear layer")
    for name in settings.layers:
        require(name in names, f"lora.layers holds {name!r}; this model has {', '.join(names)}")
    require(1 <= settings.rank <= model.d_model, f"lora.rank is {settings.rank}; it must be 0 (off) to {model.d_model}")
    require(settings.scale > 0, f"lora.scale is {settings.scale}; it must be more than 0")


def decoder_params(weights: Params, frozen: FrozenBase | None, model: ModelConfig) -> Params:
    """What the decoder computes with, in the model's dtype: the weights, or the frozen base with its adapters.

    Weights that are trained are kept in float32, where small updates are not rounded away.
    """
    weights = jax.tree.map(lambda leaf: leaf.astype(model.dtype), weights)
    if frozen is None:
        return weights

    def adapted(weight: jax.Array, adapter: Adapter) -> LoRALinear:
        return LoRALinear(weight, adapter.a * frozen.scale.astype(model.dtype), adapter.b)

    return _at_adapters(adapted, frozen.params, weights)


def merge(weights: Params, frozen: FrozenBase | None) -> Params:
    """A policy as plain parameters in the layout of `parameter_table`, rounded once to their dtype."""
    if frozen is None:
        return weights

    def merged(weight: Any, adapter: Adapter) -> Any:
        added = jnp.matmul(adapter.a, adapter.b, precision="highest") * frozen.scale
        return (weight.astype(jnp.float32) + added.reshape(weight.shape)).astype(weight.dtype)

    return _at_adapters(merged, frozen.params, weights)


def _at_adapters(function: Any, params: Params, adapters: Params) -> Params:
    """`params` with `function(weight, adapter)` at each weight that has an adapter."""
    layers = {name: function(params["layers"][name], adapter) for name, adapter in adapters["layers"].items()}
    top = {name: function(params[name], adapter) for name, adapter in adapters.items() if name != "layers"}
    return {**params, **top, "layers": params["layers"] | layers}
