"""Llama weights in and out of a Hugging Face folder (`config.json`, safetensors).

One table names, for each parameter of ours, the tensor of theirs and how its axes map;
reading and writing both derive from it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from soar_jax.model import config as model_config
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params, abstract_params
from soar_jax.settings import SettingsError, require


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A tensor of a checkpoint: its name there, and the transposition (linear layers are [out, in])."""

    name: str
    is_linear: bool


_TOP: dict[str, _Tensor] = {
    "embedding": _Tensor("model.embed_tokens.weight", False),
    "final_norm": _Tensor("model.norm.weight", False),
    "unembedding": _Tensor("lm_head.weight", True),
}
_LAYER: dict[str, _Tensor] = {
    "attention_norm": _Tensor("input_layernorm.weight", False),
    "query": _Tensor("self_attn.q_proj.weight", True),
    "key": _Tensor("self_attn.k_proj.weight", True),
    "value": _Tensor("self_attn.v_proj.weight", True),
    "out": _Tensor("self_attn.o_proj.weight", True),
    "mlp_norm": _Tensor("post_attention_layernorm.weight", False),
    "gate": _Tensor("mlp.gate_proj.weight", True),
    "up": _Tensor("mlp.up_proj.weight", True),
    "down": _Tensor("mlp.down_proj.weight", True),
}


def _layer_name(layer: int, tensor: _Tensor) -> str:
    return f"model.layers.{layer}.{tensor.name}"


def read_config(folder: pathlib.Path, dtype: str) -> ModelConfig:
    """The model's shape from `config.json`.

    Raises:
      SettingsError: the file is missing, is not JSON, or describes another architecture.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"no config.json in {folder}; model.source must be a Hugging Face folder") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise SettingsError(f"{path} is not JSON; fetch the checkpoint again") from None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    require(isinstance(raw, dict), f"{path} holds no JSON object; fetch the checkpoint again")
    return model_config.from_hugging_face(raw, dtype)


def load_params(folder: pathlib.Path, config: ModelConfig) -> Params:
    """Reads `model.safetensors` into the layout of `parameter_table`, as NumPy arrays of `config.dtype`.

    Raises:
      SettingsError: the file is missing, truncated, lacks a tensor, or a shape is wrong.
    """
    path = folder / "model.safetensors"
    require(
        not (folder / "model.safetensors.index.json").exists(),
        f"{folder} holds a checkpoint in several files, which is not supported yet; save it as one model.safetensors",
    )
    require(path.is_file(), f"no model.safetensors in {folder}; fetch the checkpoint again")
    try:
        with safetensors.safe_open(path, framework="np") as tensors:
            return _assemble(tensors.get_tensor, config, folder)
    except safetensors.SafetensorError as error:
        raise SettingsError(f"{path} is broken ({error}); fetch the checkpoint again") from None


def _flat_shape(shape: tuple[int, ...], num_input_axes: int) -> tuple[int, int]:
    """A linear layer's [inputs, outputs] with its axes joined."""
    return int(np.prod(shape[:num_input_axes])), int(np.prod(shape[num_input_axes:]))


def _assemble(get: Callable[[str], np.ndarray], config: ModelConfig, folder: pathlib.Path) -> Params:
    def read(tensor: _Tensor, name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = get(name)
        wanted = _flat_shape(shape, 2 if tensor is _LAYER["out"] else 1)[::-1] if tensor.is_linear else shape
        require(
            array.shape == wanted,
            f"tensor {name} of {folder} has shape {array.shape}, config.json implies {wanted}",
        )
        array = array.T if tensor.is_linear else array
        return array.reshape(shape).astype(config.dtype)

    want = abstract_params(config)
    params: Params = {name: read(_TOP[name], _TOP[name].name, want[name].shape) for name in want if name != "layers"}
    params["layers"] = {
        name: np.stack(
            [read(_LAYER[name], _layer_name(layer, _LAYER[name]), leaf.shape[1:]) for layer in range(config.num_layers)]
        )
        for name, leaf in want["layers"].items()
    }
    return params


def save_params(folder: pathlib.Path, params: Params, config: ModelConfig, raw_config: dict[str, Any]) -> None:
    """Writes `model.safetensors` and `config.json`, which transformers loads as LlamaForCausalLM."""

    def flatten(tensor: _Tensor, array: np.ndarray) -> np.ndarray:
        if not tensor.is_linear:
            return array
        shape = _flat_shape(array.shape, 2 if tensor is _LAYER["out"] else 1)  # out is [N, H, D]
        return np.ascontiguousarray(array.reshape(shape).T)

    host = jax.tree.map(np.asarray, params)
    tensors = {_TOP[name].name: flatten(_TOP[name], host[name]) for name in host if name != "layers"}
    for name, stacked in host["layers"].items():
        for layer in range(config.num_layers):
            tensors[_layer_name(layer, _LAYER[name])] = flatten(_LAYER[name], stacked[layer])
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(raw_config, indent=2) + "\n")
