"""Shapes of public models, so that their costs can be counted where the hub cannot be reached.

The facts of each model's public `config.json`, under that file's field names.
"""

from __future__ import annotations

import pathlib
from typing import Any

from soar_jax.checkpoints import base_model, gguf_file, hugging_face
from soar_jax.model import config as model_config
from soar_jax.model.config import ModelConfig
from soar_jax.settings import SettingsError


def _llama3(factor: float, **sizes: Any) -> dict[str, Any]:
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    return {
        "model_type": "llama",
        "vocab_size": 128256,
        "num_key_value_heads": 8,
        "rope_theta": 500000.0,
        "rope_scaling": scaling,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        **sizes,
    }


KNOWN_SHAPES: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-3.2-1B-Instruct": _llama3(
        32.0,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        head_dim=64,
        tie_word_embeddings=True,
    ),
    "meta-llama/Llama-3.2-3B-Instruct": _llama3(
        32.0,
        hidden_size=3072,
        intermediate_size=8192,
        num_hidden_layers=28,
        num_attention_heads=24,
        head_dim=128,
        tie_word_embeddings=True,
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
    """The shape of a `model.source`, without its weights and without the network.

    Args:
      file: a config.json or its folder, that is read in the place of the source's.

    Raises:
      SettingsError: the source is neither on this machine nor in `KNOWN_SHAPES`, or its config cannot be read.
    """
    if file:
        given = pathlib.Path(file).expanduser()
        return hugging_face.read_config(given.parent if given.name == "config.json" else given, dtype)
    path = base_model.EMBEDDED_FOLDER if source == base_model.EMBEDDED else pathlib.Path(source).expanduser()
    if source and path.is_dir():
        return hugging_face.read_config(path, dtype)
    if path.is_file():
        return model_config.from_hugging_face(gguf_file.GGUFFile(path).config(), dtype)
    if source in KNOWN_SHAPES:
        return model_config.from_hugging_face(KNOWN_SHAPES[source], dtype)
    raise SettingsError(
        f"the sizes of model.source {source!r} are not known here; give its config.json with --model_config=PATH. "
        f"Known: {', '.join(KNOWN_SHAPES)}"
    )
