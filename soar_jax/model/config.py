"""The shape of a decoder, to and from a Hugging Face `config.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from soar_jax.settings import SettingsError, require

# model_type in config.json, and the class in transformers that reads it.
FAMILIES = {
    "llama": "LlamaForCausalLM",  # Llama, SmolLM2
    "qwen2": "Qwen2ForCausalLM",  # Qwen2, Qwen2.5
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
_ROPE_THETA = {"llama": 1e4, "qwen2": 1e4, "qwen3": 1e4, "gemma3_text": 1e6}  # where config.json has none
_MOST = 2**31  # no size is larger
_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched to longer contexts.

    "llama3" leaves fast frequencies as they are, divides slow ones by `factor`, and blends between; "linear" divides
    all.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 1.0
    original_max_position_tokens: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of a decoder (hashable: a static jit argument). The defaults are a Llama's."""

    vocab_size: int  # V
    d_model: int  # D
    hidden_dim: int  # F, width of the gated feed-forward layer
    num_layers: int
    num_heads: int  # N, query heads
    num_kv_heads: int  # K, key and value heads; divides num_heads
    head_dim: int  # H
    rope_theta: float
    norm_eps: float
    tie_embeddings: bool
    max_position_tokens: int  # longest sequence the positions were made for
    dtype: str = "float32"  # of parameters and activations; softmax and norms stay float32
    attention: str = "plain"  # of whole rows; or "splash", "cudnn" (`attention.choose`)
    int8_cache: bool = False  # what decoding looks back at is rounded to 8-bit integers (`kv_cache.py`)
    family: str = "llama"  # of FAMILIES: how its checkpoints name things
    rope_scaling: RopeScaling | None = None
    activation: str = "silu"  # or "gelu", by tanh
    has_qkv_bias: bool = False
    has_qk_norm: bool = False  # norms of queries and keys over a head's dimensions
    has_post_norms: bool = False  # norms behind attention and feed-forward too
    norm_plus_one: bool = False  # norms scale by 1 + weight
    scale_embeddings: bool = False  # by the square root of d_model
    query_scale: float = 0.0  # factor on attention scores; 0 means head_dim ** -0.5
    window_tokens: int = 0  # how far back layers with a window look
    layers_with_window: tuple[int, ...] = ()
    window_rope_theta: float = 0.0  # of these layers; they have no rope scaling

    @property
    def queries_per_kv(self) -> int:
        """G, query heads that share one key head."""
        return self.num_heads // self.num_kv_heads


def from_hugging_face(raw: Mapping[str, Any], dtype: str = "float32") -> ModelConfig:
    """Reads a Hugging Face `config.json`.

    Raises:
      SettingsError: the architecture is not one that this decoder computes, or a
        field is missing.
    """
    family = raw.get("model_type")
    require(
        isinstance(family, str) and family in FAMILIES,
        f"model_type {family!r} is not supported; supported: {', '.join(FAMILIES)}",
    )
    require(
        not raw.get("quantization_config"),
        "config.json has a quantization_config, and quantised tensors cannot be read; fetch the model as it was before "
        "it was quantised, or a GGUF file of it",
    )
    try:
        config = _sizes(raw, str(family), dtype)
        config = dataclasses.replace(config, **_family_fields(raw, config))
        _check_sizes(config)
        return config
    except KeyError as missing:
        raise SettingsError(f"config.json lacks {missing}; is it a {family} checkpoint?") from None
    except SettingsError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise SettingsError(f"config.json has a value that is no size ({error}); fetch the checkpoint again") from None


def _sizes(raw: Mapping[str, Any], family: str, dtype: str) -> ModelConfig:
    num_heads, d_model = int(raw["num_attention_heads"]), int(raw["hidden_size"])
    ties = raw.get("tie_word_embeddings", family == "gemma3_text")  # a default is not written
    return ModelConfig(
        vocab_size=int(raw["vocab_size"]),
        d_model=d_model,
        hidden_dim=int(raw["intermediate_size"]),
        num_layers=int(raw["num_hidden_layers"]),
        num_heads=num_heads,
        num_kv_heads=int(raw.get("num_key_value_heads") or num_heads),
        head_dim=int(raw.get("head_dim") or d_model // num_heads),
        rope_theta=float(_rope(raw, "full_attention").get("rope_theta", raw.get("rope_theta", _ROPE_THETA[family]))),
        norm_eps=float(raw["rms_norm_eps"]),
        tie_embeddings=bool(ties),
        max_position_tokens=int(raw["max_position_embeddings"]),
        dtype=dtype,
        family=family,
        rope_scaling=_scaling(raw),
    )


def _family_fields(raw: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """What sets a checkpoint apart from a plain Llama."""
    family = config.family
    has_bias = bool(raw.get("attention_bias", False))
    require(not has_bias and not raw.get("mlp_bias"), "biases are supported in Qwen2's queries, keys and values alone")
    act = raw.get("hidden_activation" if family == "gemma3_text" else "hidden_act", "silu")
    require(act in _ACTIVATIONS, f"hidden_act {act!r} is not supported; supported: {', '.join(_ACTIVATIONS)}")
    for key in (
        "use_sliding_window",
        "use_bidirectional_attention",
        "attn_logit_softcapping",
        "final_logit_softcapping",
    ):
        require(not raw.get(key), f"{key} is not supported")
    fields: dict[str, Any] = {"activation": _ACTIVATIONS[act]}
    if family == "qwen2":
        fields["has_qkv_bias"] = True
    elif family == "qwen3":
        fields["has_qk_norm"] = True
    elif family == "gemma3_text":
        fields |= {
            "has_qk_norm": True,
            "has_post_norms": True,
            "norm_plus_one": True,
            "scale_embeddings": True,
            "query_scale": float(raw["query_pre_attn_scalar"]) ** -0.5,
            "window_tokens": int(raw["sliding_window"]),
            "layers_with_window": _windows(raw, config.num_layers),
            "window_rope_theta": float(
                _rope(raw, "sliding_attention").get("rope_theta", raw.get("rope_local_base_freq", 10000.0))
            ),
        }
    return fields


def _rope(raw: Mapping[str, Any], layer_type: str) -> Mapping[str, Any]:
    """Rotary parameters, which newer checkpoints nest, and some nest by type of layer."""
    found = raw.get("rope_parameters") or {}
    return found.get(layer_type, {} if "full_attention" in found else found) or {}


def _scaling(raw: Mapping[str, Any]) -> RopeScaling | None:
    found = _rope(raw, "full_attention")
    found = found if "rope_type" in found else (raw.get("rope_scaling") or {})
    kind = found.get("rope_type", found.get("type", "default"))
    require(kind in ("default", "llama3", "linear"), f"rope_type {kind!r} is not supported; supported: llama3, linear")
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling(kind=kind, factor=float(found["factor"]))
    return RopeScaling(
        kind=kind,
        factor=float(found["factor"]),
        low_freq_factor=float(found["low_freq_factor"]),
        high_freq_factor=float(found["high_freq_factor"]),
        original_max_position_tokens=int(found["original_max_position_embeddings"]),
    )


def _windows(raw: Mapping[str, Any], num_layers: int) -> tuple[int, ...]:
    types = raw.get("layer_types")
    if types is None:  # older checkpoints: every so many layers one without a window
        every = int(raw.get("sliding_window_pattern", 6))
        types = ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(num_layers)]
    require(len(types) == num_layers, f"config.json has {len(types)} layer_types for {num_layers} layers")
    return tuple(layer for layer, kind in enumerate(types) if kind == "sliding_attention")


def _check_sizes(config: ModelConfig) -> None:
    sizes = [config.vocab_size, config.d_model, config.hidden_dim, config.num_layers, config.num_heads]
    sizes += [config.num_kv_heads, config.head_dim, config.max_position_tokens]
    if min(sizes) < 1 or max(sizes) > _MOST or config.num_heads % config.num_kv_heads or config.head_dim % 2:
        raise ValueError(f"sizes {sizes}")
    constants = [config.rope_theta, config.norm_eps, config.query_scale, config.window_rope_theta]
    constants += [config.rope_scaling.factor] if config.rope_scaling else []
    if not all(math.isfinite(constant) for constant in constants):
        raise ValueError(f"constants {constants}")


def to_hugging_face(config: ModelConfig, *, bos_id: int | None, eos_id: int, pad_id: int) -> dict[str, Any]:
    """The `config.json` of `config` as transformers reads it."""
    raw = {
        "architectures": [FAMILIES[config.family]],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "max_position_embeddings": config.max_position_tokens,
        "hidden_act": {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[config.activation],
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": config.dtype,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
    }
    if config.rope_scaling is not None:
        raw["rope_scaling"] = _raw_scaling(config.rope_scaling)
    if config.family == "gemma3_text":
        kinds = [
            "sliding_attention" if i in config.layers_with_window else "full_attention"
            for i in range(config.num_layers)
        ]
        raw |= {
            "hidden_activation": raw.pop("hidden_act"),
            "query_pre_attn_scalar": round(config.query_scale**-2),
            "sliding_window": config.window_tokens,
            "layer_types": kinds,
            "rope_local_base_freq": config.window_rope_theta,
        }
    return raw


def _raw_scaling(scaling: RopeScaling) -> dict[str, Any]:
    raw: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        raw |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position_tokens,
        }
    return raw
