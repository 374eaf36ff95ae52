"""Model families: how each one's `config.json` differs from Llama's.

    @FAMILIES.register("my_model_type")
    ...

A family that is one or two fields of `ModelConfig` away from those here is one entry.
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
    rope_theta: float = 1e4  # if config.json has none
    ties_embeddings: bool = False  # if config.json does not say
    head_dim: int = 0  # if config.json has none; 0: hidden_size over the number of heads
    activation_key: str = "hidden_act"
    activation: str = "silu"  # if config.json has none
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
        head_dim=128,
        keys=_UNUSED_WINDOW,
        fields=lambda raw, config: {"has_qk_norm": True},
    )
)


def rope_parameters(raw: Raw, layer_type: str) -> Raw:
    """The RoPE parameters that newer checkpoints nest, some of them by layer type."""
    found = raw.get("rope_parameters") or {}
    return found.get(layer_type, {} if "full_attention" in found else found) or {}


def _gemma3(raw: Raw, config: ModelConfig) -> dict[str, Any]:
    rope = rope_parameters(raw, "sliding_attention")
    kind = rope.get("rope_type", "default")
    require(kind == "default", f"rope_type {kind!r} of layers with sliding windows is not supported")
    check_keys(rope, ("rope_type", "rope_theta"), "the RoPE of layers with sliding windows in config.json")
    return {
        "has_qk_norm": True,
        "has_post_norms": True,
        "norm_plus_one": True,
        "scale_embeddings": True,
        "query_scale": float(raw["query_pre_attn_scalar"]) ** -0.5,
        "window_tokens": int(raw["sliding_window"]),
        "layers_with_window": _windows(raw, config.num_layers),
        "window_rope_theta": float(rope.get("rope_theta", raw.get("rope_local_base_freq", 10000.0))),
    }


def _raw_gemma3(config: ModelConfig) -> dict[str, Any]:
    windows = [layer in config.layers_with_window for layer in range(config.num_layers)]
    return {
        "query_pre_attn_scalar": round(config.query_scale**-2),
        "sliding_window": config.window_tokens,
        "layer_types": [_layer_type(has_window) for has_window in windows],
        "rope_local_base_freq": config.window_rope_theta,
    }


FAMILIES.register("gemma3_text")(
    ModelFamily(
        transformers_class="Gemma3ForCausalLM",
        rope_theta=1e6,
        ties_embeddings=True,
        head_dim=256,
        activation_key="hidden_activation",
        activation="gelu_pytorch_tanh",
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


def _windows(raw: Mapping[str, Any], num_layers: int) -> tuple[int, ...]:
    types = raw.get("layer_types")
    if types is None:  # older checkpoints: every N-th layer has full attention
        every = int(raw.get("sliding_window_pattern", 6))
        types = [_layer_type(bool((layer + 1) % every)) for layer in range(num_layers)]
    require(len(types) == num_layers, f"config.json has {len(types)} layer_types for {num_layers} layers")
    return tuple(layer for layer, kind in enumerate(types) if kind == "sliding_attention")


def _layer_type(has_window: bool) -> str:
    return "sliding_attention" if has_window else "full_attention"
