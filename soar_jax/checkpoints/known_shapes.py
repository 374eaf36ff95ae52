"""Architectures of public models, to plan their costs offline: values of each model's public `config.json`."""

from __future__ import annotations

import pathlib
from typing import Any

from soar_jax.checkpoints import base_model, config_json, gguf_file, hugging_face
from soar_jax.errors import SettingsError
from soar_jax.model.config import ModelConfig


def _llama3(factor: float, **sizes: Any) -> dict[str, Any]:
    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return {
        "model_type": "llama",
        "vocab_size": 128256,
        "num_key_value_heads": 8,
        "rope_theta": 500000.0,
        "rope_scaling": scaling | {"original_max_position_embeddings": 8192},
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
        **sizes,
    }


KNOWN_SHAPES: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-3.2-1B-Instruct": _llama3(
        32.0, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, head_dim=64
    ),
    "meta-llama/Llama-3.2-3B-Instruct": _llama3(
        32.0, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24, head_dim=128
    ),
    "meta-llama/Llama-3.1-8B-Instruct": _llama3(
        8.0,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        tie_word_embeddings=False,
    ),
    "Qwen/Qwen2.5-1.5B-Instruct": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
    "Qwen/Qwen3-1.7B": {
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
    "HuggingFaceTB/SmolLM2-135M-Instruct": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "rope_theta": 100000.0,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
}


def shape_of(source: str, dtype: str, file: str = "") -> ModelConfig:
    """Returns the architecture of a `model.source` without its weights or the network.

    Args:
      file: a config.json or its folder, read instead of the source's.

    Raises:
      SettingsError: the source is neither on disk nor in `KNOWN_SHAPES`, or its config cannot be read.
    """
    if file:
        path = pathlib.Path(file).expanduser()
        return hugging_face.read_config(path.parent if path.name == "config.json" else path, dtype)
    path = base_model.EMBEDDED_FOLDER if source == base_model.EMBEDDED else pathlib.Path(source).expanduser()
    if source and path.is_dir():
        return hugging_face.read_config(path, dtype)
    if path.is_file():
        return config_json.from_hugging_face(gguf_file.GGUFFile(path).config(), dtype)
    if source in KNOWN_SHAPES:
        return config_json.from_hugging_face(KNOWN_SHAPES[source], dtype)
    raise SettingsError(
        f"the sizes of model.source {source!r} are not known here; give its config.json with --model_config=PATH. "
        f"Known: {', '.join(KNOWN_SHAPES)}"
    )
