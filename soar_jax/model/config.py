"""The shape of a decoder, read from a Hugging Face `config.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from soar_jax.settings import SettingsError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of a Llama-style decoder (hashable: a static jit argument)."""

    vocab_size: int  # V
    d_model: int  # D
    hidden_dim: int  # F, width of the SwiGLU feed-forward layer
    num_layers: int
    num_heads: int  # N, query heads
    num_kv_heads: int  # K, key and value heads; divides num_heads
    head_dim: int  # H
    rope_theta: float
    norm_eps: float
    tie_embeddings: bool
    max_position_tokens: int  # longest sequence the positions were made for
    dtype: str = "float32"  # of parameters and activations; softmax and norms stay float32

    @property
    def queries_per_kv(self) -> int:
        """G, query heads that share one key head."""
        return self.num_heads // self.num_kv_heads


def from_hugging_face(raw: Mapping[str, Any], dtype: str = "float32") -> ModelConfig:
    """Reads the fields of a Hugging Face Llama `config.json`.

    Raises:
      SettingsError: the architecture is not one that this decoder computes, or a
        field is missing.
    """
    kind = raw.get("model_type")
    if kind != "llama":
        raise SettingsError(f"model_type {kind!r} is not supported; supported: 'llama'")
    rope = raw.get("rope_parameters") or {}  # transformers 5 nests rope_theta here
    scaling = raw.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", scaling.get("rope_type", scaling.get("type", "default")))
    if rope_type != "default":
        raise SettingsError(f"rope_type {rope_type!r} is not supported; supported: 'default'")
    if raw.get("attention_bias") or raw.get("mlp_bias"):
        raise SettingsError("biases in attention or feed-forward layers are not supported")
    if raw.get("hidden_act", "silu") != "silu":
        raise SettingsError(f"hidden_act {raw['hidden_act']!r} is not supported; supported: 'silu'")
    try:
        num_heads = int(raw["num_attention_heads"])
        d_model = int(raw["hidden_size"])
        config = ModelConfig(
            vocab_size=int(raw["vocab_size"]),
            d_model=d_model,
            hidden_dim=int(raw["intermediate_size"]),
            num_layers=int(raw["num_hidden_layers"]),
            num_heads=num_heads,
            num_kv_heads=int(raw.get("num_key_value_heads") or num_heads),
            head_dim=int(raw.get("head_dim") or d_model // num_heads),
            rope_theta=float(rope.get("rope_theta", raw.get("rope_theta", 10000.0))),
            norm_eps=float(raw["rms_norm_eps"]),
            tie_embeddings=bool(raw.get("tie_word_embeddings", False)),
            max_position_tokens=int(raw["max_position_embeddings"]),
            dtype=dtype,
        )
        sizes = [value for value in dataclasses.astuple(config) if type(value) is int]
        if min(sizes) < 1 or config.num_heads % config.num_kv_heads or config.head_dim % 2:
            raise ValueError(f"sizes {sizes}")
        return config
    except KeyError as missing:
        raise SettingsError(f"config.json lacks {missing}; is it a Llama checkpoint?") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"config.json has a value that is no size ({error}); fetch the checkpoint again") from None


def to_hugging_face(config: ModelConfig, *, bos_id: int, eos_id: int, pad_id: int) -> dict[str, Any]:
    """The `config.json` of `config` as transformers' LlamaForCausalLM reads it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
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
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": config.dtype,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
    }
