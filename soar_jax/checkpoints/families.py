"""Model families: how each one's `config.json` differs from Llama's.

    @FAMILIES.register("my_model_type")
    ...

A family that is one or two fields of `ModelConfig` away from those here is one entry. Keys that a `config.json` lacks
have the defaults of its class in transformers before they come here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from soar_jax.checkpoints.config_keys import check_keys
from soar_jax.errors import require
from soar_jax.model.config import ModelConfig
from soar_jax.registry import Registry

Raw = Mapping[str, Any]  # a config.json


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """A `model_type` of transformers."""

    transformers_class: str
    activation_key: str = "hidden_act"
    fused: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # a tensor's parameters, row by row
    keys: tuple[str, ...] = ()  # of config.json, unlike Llama's, that `fields` applies or that have no effect
    fields: Callable[[Raw, ModelConfig], dict[str, Any]] = lambda raw, config: {}  # of ModelConfig, unlike Llama's
    raw_fields: Callable[[ModelConfig], dict[str, Any]] = lambda config: {}  # of config.json, unlike Llama's


FAMILIES: Registry[ModelFamily] = Registry("model.source")

FAMILIES.register("llama")(ModelFamily(transformers_class="LlamaForCausalLM"))  # Llama, SmolLM2
# `use_sliding_window` is refused, and these have no effect without it.
_UNUSED_WINDOW = ("sliding_window", "max_window_layers")
FAMILIES.register("qwen2")(  # Qwen2, Qwen2.5
    ModelFamily(
        transformers_class="Qwen2ForCausalLM",
        keys=_UNUSED_WINDOW,
        fields=lambda raw, config: {"has_qkv_bias": True},
    )
)
FAMILIES.register("qwen3")(
    ModelFamily(
        transformers_class="Qwen3ForCausalLM",
        keys=_UNUSED_WINDOW,
        fields=lambda raw, config: {"has_qk_norm": True},
    )
)


def rope_parameters(raw: Raw, layer_type: str) -> Raw:
    """The RoPE parameters that newer checkpoints nest, some of them by layer type."""
    found = raw.get("rope_parameters") or {}
    is_nested = any(isinstance(value, dict) for value in found.values())
    return found.get(layer_type, {} if is_nested else found) or {}


def _windows(raw: Raw, config: ModelConfig, every: int) -> dict[str, Any]:
    """The window of the layers that `layer_types` names; by default of all but every N-th.

    Raises:
      SettingsError: their RoPE is scaled, or there is not a type for each layer.
    """
    rope = rope_parameters(raw, "sliding_attention")
    kind = rope.get("rope_type", "default")
    require(kind == "default", f"rope_type {kind!r} of layers with sliding windows is not supported")
    check_keys(rope, ("rope_type", "rope_theta"), "the RoPE of layers with sliding windows in config.json")
    types = raw.get("layer_types")
    if types is None:
        types = [_layer_type(bool((layer + 1) % every)) for layer in range(config.num_layers)]
    require(len(types) == config.num_layers, f"config.json has {len(types)} layer_types for {config.num_layers} layers")
    return {
        "window_tokens": int(raw["sliding_window"]),
        "layers_with_window": tuple(layer for layer, kind in enumerate(types) if kind == "sliding_attention"),
        "window_rope_theta": float(rope.get("rope_theta", raw["rope_local_base_freq"])),
    }


def _raw_windows(config: ModelConfig) -> dict[str, Any]:
    windows = [layer in config.layers_with_window for layer in range(config.num_layers)]
    return {"sliding_window": config.window_tokens, "layer_types": [*map(_layer_type, windows)]}


def _layer_type(has_window: bool) -> str:
    return "sliding_attention" if has_window else "full_attention"


def _window_of_all(raw: Raw, config: ModelConfig) -> dict[str, Any]:
    """The window of all layers, if the model has one."""
    if not raw.get("sliding_window"):
        return {}
    require(config.rope_scaling is None, "config.json has sliding_window and rope_scaling, which is not supported")
    return {
        "window_tokens": int(raw["sliding_window"]),
        "layers_with_window": tuple(range(config.num_layers)),
        "window_rope_theta": config.rope_theta,
    }


def _phi3(raw: Raw, config: ModelConfig) -> dict[str, Any]:
    require(config.rope_scaling is None, "rope_scaling of a phi3 model is not supported")  # transformers reads LongRoPE
    return _window_of_all(raw, config)


def _raw_window_of_all(config: ModelConfig) -> dict[str, Any]:
    return {"sliding_window": config.window_tokens or None}


FAMILIES.register("mistral")(
    ModelFamily(
        transformers_class="MistralForCausalLM",
        keys=("sliding_window",),
        fields=_window_of_all,
        raw_fields=_raw_window_of_all,
    )
)
FAMILIES.register("phi3")(  # Phi-3, Phi-4
    ModelFamily(
        transformers_class="Phi3ForCausalLM",
        fused={
            "self_attn.qkv_proj.weight": ("query", "key", "value"),
            "mlp.gate_up_proj.weight": ("gate", "up"),
        },
        keys=("sliding_window", "original_max_position_embeddings"),  # the latter has an effect on LongRoPE alone
        fields=_phi3,
        raw_fields=_raw_window_of_all,
    )
)


def _smollm3(raw: Raw, config: ModelConfig) -> dict[str, Any]:
    rotated, every = raw.get("no_rope_layers"), int(raw["no_rope_layer_interval"])
    if rotated is None:
        rotated = [(layer + 1) % every for layer in range(config.num_layers)]
    count = len(rotated)
    require(count == config.num_layers, f"config.json has {count} no_rope_layers for {config.num_layers} layers")
    return {"layers_without_rope": tuple(layer for layer, has_rope in enumerate(rotated) if not has_rope)}


def _raw_smollm3(config: ModelConfig) -> dict[str, Any]:
    return {"no_rope_layers": [int(layer not in config.layers_without_rope) for layer in range(config.num_layers)]}


FAMILIES.register("smollm3")(
    ModelFamily(
        transformers_class="SmolLM3ForCausalLM",
        keys=("no_rope_layers", "no_rope_layer_interval", *_UNUSED_WINDOW),
        fields=_smollm3,
        raw_fields=_raw_smollm3,
    )
)

_OLMO = {"has_pre_norms": False, "has_post_norms": True, "has_qk_norm": True, "qk_norm_joins_heads": True}
FAMILIES.register("olmo2")(
    ModelFamily(transformers_class="Olmo2ForCausalLM", fields=lambda raw, config: _OLMO),
)


def _raw_olmo3(config: ModelConfig) -> dict[str, Any]:
    thetas = {"full_attention": config.rope_theta, "sliding_attention": config.window_rope_theta}
    rope = {layer_type: {"rope_type": "default", "rope_theta": theta} for layer_type, theta in thetas.items()}
    return _raw_windows(config) | {"rope_parameters": rope}


FAMILIES.register("olmo3")(
    ModelFamily(
        transformers_class="Olmo3ForCausalLM",
        keys=("sliding_window", "layer_types"),
        fields=lambda raw, config: _OLMO | _windows(raw, config, every=4),
        raw_fields=_raw_olmo3,
    )
)


def _gemma3(raw: Raw, config: ModelConfig) -> dict[str, Any]:
    return _windows(raw, config, every=int(raw.get("sliding_window_pattern", 6))) | {
        "has_qk_norm": True,
        "has_post_norms": True,
        "norm_plus_one": True,
        "scale_embeddings": True,
        "query_scale": float(raw["query_pre_attn_scalar"]) ** -0.5,
    }


def _raw_gemma3(config: ModelConfig) -> dict[str, Any]:
    return _raw_windows(config) | {
        "query_pre_attn_scalar": round(config.query_scale**-2),
        "rope_local_base_freq": config.window_rope_theta,
    }


FAMILIES.register("gemma3_text")(
    ModelFamily(
        transformers_class="Gemma3ForCausalLM",
        activation_key="hidden_activation",
        keys=(
            "query_pre_attn_scalar",
            "sliding_window",
            "sliding_window_pattern",
            "layer_types",
            "rope_local_base_freq",
        ),
        fields=_gemma3,
        raw_fields=_raw_gemma3,
    )
)
