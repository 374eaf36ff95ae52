"""Reads and writes a Hugging Face `config.json`."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Mapping
from typing import Any

from soar_jax.checkpoints.class_defaults import fill_in
from soar_jax.checkpoints.config_keys import check_keys
from soar_jax.checkpoints.families import FAMILIES, rope_parameters
from soar_jax.errors import SettingsError, require
from soar_jax.model.config import ModelConfig, RopeScaling

_MAX_SIZE = 2**31
_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu"}
APPLIED_KEYS = (  # of any family
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "tie_word_embeddings",
    "max_position_embeddings",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "layer_types",
    "hidden_act",
    "hidden_activation",
)
_NEVER_DEFAULT = ("hidden_size", "num_hidden_layers")  # sizes that every checkpoint has of its own
_ROPE_KEYS = {
    "default": (),
    "linear": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "beta_fast", "beta_slow", "attention_factor", "original_max_position_embeddings"),
}  # by kind, those with an effect or known to have none


def from_hugging_face(raw: Mapping[str, Any], dtype: str = "float32") -> ModelConfig:
    """Reads a Hugging Face `config.json`.

    Raises:
      SettingsError: the architecture is not supported, a key changes it in a way that is not, or a field is missing.
    """
    family = raw.get("model_type")
    require(
        isinstance(family, str) and family in FAMILIES,
        f"model_type {family!r} is not supported; supported: {', '.join(FAMILIES)}",
    )
    quantised = [key for key in ("quantization_config", "quantization", "compression_config") if raw.get(key)]
    require(
        not quantised,
        f"config.json has a {', '.join(quantised)}, and quantised tensors cannot be read; fetch the model as it was "
        "before it was quantised, or a GGUF file of it",
    )
    applied = (*APPLIED_KEYS, *FAMILIES[str(family)].keys)
    check_keys(raw, applied, "config.json")
    try:
        for size in _NEVER_DEFAULT:
            raw[size]
        raw = fill_in(raw, str(family), (*applied, "rope_local_base_freq"))
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
    return ModelConfig(
        vocab_size=int(raw["vocab_size"]),
        d_model=d_model,
        hidden_dim=int(raw["intermediate_size"]),
        num_layers=int(raw["num_hidden_layers"]),
        num_heads=num_heads,
        num_kv_heads=int(raw.get("num_key_value_heads") or num_heads),
        head_dim=int(raw.get("head_dim") or d_model // num_heads),
        rope_theta=float(rope_parameters(raw, "full_attention").get("rope_theta", raw["rope_theta"])),
        norm_eps=float(raw["rms_norm_eps"]),
        tie_embeddings=bool(raw["tie_word_embeddings"]),
        max_position_tokens=int(raw["max_position_embeddings"]),
        dtype=dtype,
        family=family,
        rope_scaling=_scaling(raw),
    )


def _family_fields(raw: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """The fields in which a checkpoint differs from Llama."""
    family = FAMILIES[config.family]
    act = raw[family.activation_key]
    for key in ("hidden_act", "hidden_activation"):
        found = raw.get(key, act)
        require(found in _ACTIVATIONS, f"{key} {found!r} is not supported; supported: {', '.join(_ACTIVATIONS)}")
        require(found == act, f"{key} is {found!r}, but {family.activation_key} is {act!r}")
    kinds = set(raw.get("layer_types") or ()) - {"full_attention"}
    kinds -= {"sliding_attention"} if "layer_types" in family.keys else set()
    require(not kinds, f"layer_types {sorted(kinds)} are not supported in a {config.family} model")
    _check_classes(raw.get("architectures"), family.transformers_class)
    return {"activation": _ACTIVATIONS[act]} | family.fields(raw, config)


def _check_classes(architectures: Any, causal_class: str) -> None:
    classes = [architectures] if isinstance(architectures, str) else architectures or [causal_class]
    require(
        all(str(name).lower() == causal_class.lower() for name in classes),  # LLaMAForCausalLM is of 2023
        f"config.json names the architecture {reprlib.repr(classes)}, not {causal_class}, which alone can be computed",
    )


def _scaling(raw: Mapping[str, Any]) -> RopeScaling | None:
    found, older = rope_parameters(raw, "full_attention"), raw.get("rope_scaling") or {}
    require(not (found and older) or found == older, "rope_parameters and rope_scaling differ; remove one of them")
    found = found if "rope_type" in found else older
    kind = str(found.get("rope_type", found.get("type", "default")))
    require(kind in _ROPE_KEYS, f"rope_type {kind!r} is not supported; supported: llama3, yarn, linear")
    check_keys(found, ("rope_type", "type", "rope_theta", *_ROPE_KEYS[kind]), f"the {kind} RoPE of config.json")
    if kind == "default":
        return None
    factor = float(found["factor"])
    if kind == "linear":
        return RopeScaling(kind=kind, factor=factor)
    if kind == "yarn":
        require("truncate" not in found, "the yarn RoPE of config.json sets 'truncate', which is not supported")
        return RopeScaling(
            kind=kind,
            factor=factor,
            original_max_position_tokens=int(found["original_max_position_embeddings"]),
            fast_turns=float(found.get("beta_fast") or 32),
            slow_turns=float(found.get("beta_slow") or 1),
            rotation_factor=float(found.get("attention_factor") or 0.1 * math.log(max(factor, 1.0)) + 1),
        )
    return RopeScaling(
        kind=kind,
        factor=factor,
        low_freq_factor=float(found["low_freq_factor"]),
        high_freq_factor=float(found["high_freq_factor"]),
        original_max_position_tokens=int(found["original_max_position_embeddings"]),
    )


def _check_sizes(config: ModelConfig) -> None:
    sizes = [config.vocab_size, config.d_model, config.hidden_dim, config.num_layers, config.num_heads]
    sizes += [config.num_kv_heads, config.head_dim, config.max_position_tokens]
    sizes += [config.window_tokens] if config.layers_with_window else []
    if min(sizes) < 1 or max(sizes) > _MAX_SIZE or config.num_heads % config.num_kv_heads or config.head_dim % 2:
        raise ValueError(f"sizes {sizes}")
    constants = [config.rope_theta, config.norm_eps, config.query_scale, config.window_rope_theta]
    constants += [config.rope_scaling.factor, config.rope_scaling.rotation_factor] if config.rope_scaling else []
    if not all(math.isfinite(constant) for constant in constants):
        raise ValueError(f"constants {constants}")
    if (scaling := config.rope_scaling) is not None and scaling.kind == "yarn":
        positive = [scaling.factor, scaling.fast_turns, scaling.slow_turns, scaling.original_max_position_tokens]
        if min(positive) <= 0 or config.rope_theta <= 1:
            raise ValueError(f"RoPE constants {positive}")


def to_hugging_face(config: ModelConfig, *, bos_id: int | None, eos_id: int, pad_id: int) -> dict[str, Any]:
    """Builds the `config.json` that transformers reads."""
    family = FAMILIES[config.family]
    raw: dict[str, Any] = {
        "architectures": [family.transformers_class],
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
        family.activation_key: {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[config.activation],
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": config.dtype,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
    }
    if config.rope_scaling is not None:
        raw["rope_scaling"] = _raw_scaling(config.rope_scaling)
    raw |= family.raw_fields(config)
    if "rope_parameters" in raw:  # of each type of layer; only those with full attention are scaled
        raw["rope_parameters"]["full_attention"] |= raw.pop("rope_scaling", {})
    return raw


def _raw_scaling(scaling: RopeScaling) -> dict[str, Any]:
    raw: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        raw |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position_tokens,
        }
    if scaling.kind == "yarn":
        raw |= {
            "beta_fast": scaling.fast_turns,
            "beta_slow": scaling.slow_turns,
            "attention_factor": scaling.rotation_factor,
            "original_max_position_embeddings": scaling.original_max_position_tokens,
        }
    return raw
