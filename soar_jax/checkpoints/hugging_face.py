"""Weights in and out of a Hugging Face folder (`config.json`, safetensors).

One table names, for each parameter of ours, the tensor of theirs and how its axes map;
reading and writing both derive from it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from jax.sharding import Mesh, NamedSharding

from soar_jax.checkpoints.safetensors_folder import TensorSource, read_json
from soar_jax.model import config as model_config
from soar_jax.model import layout
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params, map_table, num_input_axes, parameter_table
from soar_jax.settings import SettingsError, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tensor:
    """A tensor of a checkpoint: its name there, and the transposition (linear layers are [out, in])."""

    name: str
    is_linear: bool


_TOP: dict[str, _Tensor] = {
    "embedding": _Tensor(name="model.embed_tokens.weight", is_linear=False),
    "final_norm": _Tensor(name="model.norm.weight", is_linear=False),
    "unembedding": _Tensor(name="lm_head.weight", is_linear=True),
}
_LAYER: dict[str, _Tensor] = {
    "attention_norm": _Tensor(name="input_layernorm.weight", is_linear=False),
    "query": _Tensor(name="self_attn.q_proj.weight", is_linear=True),
    "key": _Tensor(name="self_attn.k_proj.weight", is_linear=True),
    "value": _Tensor(name="self_attn.v_proj.weight", is_linear=True),
    "out": _Tensor(name="self_attn.o_proj.weight", is_linear=True),
    "mlp_norm": _Tensor(name="post_attention_layernorm.weight", is_linear=False),
    "gate": _Tensor(name="mlp.gate_proj.weight", is_linear=True),
    "up": _Tensor(name="mlp.up_proj.weight", is_linear=True),
    "down": _Tensor(name="mlp.down_proj.weight", is_linear=True),
    "query_bias": _Tensor(name="self_attn.q_proj.bias", is_linear=False),
    "key_bias": _Tensor(name="self_attn.k_proj.bias", is_linear=False),
    "value_bias": _Tensor(name="self_attn.v_proj.bias", is_linear=False),
    "query_norm": _Tensor(name="self_attn.q_norm.weight", is_linear=False),
    "key_norm": _Tensor(name="self_attn.k_norm.weight", is_linear=False),
}
# With norms behind attention and feed-forward too, the names move.
_LAYER_WITH_POST_NORMS: dict[str, _Tensor] = _LAYER | {
    "attention_post_norm": _Tensor(name="post_attention_layernorm.weight", is_linear=False),
    "mlp_norm": _Tensor(name="pre_feedforward_layernorm.weight", is_linear=False),
    "mlp_post_norm": _Tensor(name="post_feedforward_layernorm.weight", is_linear=False),
}


def _layer_name(layer: int, tensor: _Tensor) -> str:
    return f"model.layers.{layer}.{tensor.name}"


def read_config(folder: pathlib.Path, dtype: str) -> ModelConfig:
    """The model's shape from `config.json`.

    Raises:
      SettingsError: the file is missing, is not JSON, or describes another architecture.
    """
    try:
        return model_config.from_hugging_face(read_json(folder / "config.json"), dtype)
    except FileNotFoundError:
        raise SettingsError(f"no config.json in {folder}; model.source must be a Hugging Face folder") from None


def load_params(source: TensorSource, config: ModelConfig, dtype: str, mesh: Mesh | None = None) -> Params:
    """Reads a checkpoint into the layout of `parameter_table`, in a dtype.

    Args:
      mesh: where the parameters are kept; each process reads the parts that its devices hold and no whole model.
        Without one they are NumPy arrays.

    Raises:
      SettingsError: a tensor is missing or has another shape than the config implies.
    """
    reader = _Reader(source=source, config=config, dtype=dtype)
    wanted = map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, dtype), parameter_table(config))
    if mesh is None:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: reader.part(path, leaf.shape, (slice(None),) * len(leaf.shape)), wanted
        )

    def place(path: Any, leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.Array:
        parts: dict[str, np.ndarray] = {}  # devices that hold the same part share what was read

        def part(index: Any) -> np.ndarray:  # a tuple of slices
            name = str(index)
            if name not in parts:
                parts.clear()
                parts[name] = reader.part(path, leaf.shape, index)
            return parts[name]

        return jax.make_array_from_callback(leaf.shape, sharding, part)

    return jax.tree_util.tree_map_with_path(place, wanted, layout.shardings(mesh, config, wanted))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads parts of parameters; beside the part itself one tensor is held at a time."""

    source: TensorSource
    config: ModelConfig
    dtype: str

    def part(self, path: Any, shape: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
        """The part at `index` of the parameter at a path of the table."""
        name = path[-1].key
        if len(path) == 1:
            return np.array(self._tensor(_TOP[name], _TOP[name].name, shape=shape, input_axes=1)[index], self.dtype)
        layers = range(self.config.num_layers)[index[0]]
        sizes = [len(range(size)[part]) for size, part in zip(shape[1:], index[1:], strict=True)]
        array, tensor = _empty((len(layers), *sizes), self.dtype, name), _layer_tensors(self.config)[name]
        for place, layer in enumerate(layers):
            whole = self._tensor(tensor, _layer_name(layer, tensor), shape=shape[1:], input_axes=num_input_axes(name))
            array[place] = whole[index[1:]]
        return array

    def _tensor(self, tensor: _Tensor, name: str, shape: tuple[int, ...], input_axes: int) -> np.ndarray:
        array = self.source.get(name)
        wanted = _flat_shape(shape, input_axes)[::-1] if tensor.is_linear else _flat_vector(tensor, shape)
        require(array.shape == wanted, f"tensor {name} has shape {array.shape}, config.json implies {wanted}")
        return (array.T if tensor.is_linear else array).reshape(shape)


def _empty(shape: tuple[int, ...], dtype: str, name: str) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):  # ValueError: more than any array can hold
        raise SettingsError(
            f"config.json implies parameters ({name}: {shape} of {dtype}) that are more than this host's memory holds"
        ) from None


def _layer_tensors(config: ModelConfig) -> dict[str, _Tensor]:
    return _LAYER_WITH_POST_NORMS if config.has_post_norms else _LAYER


def _flat_vector(tensor: _Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A bias has its heads joined; all else that is no linear layer is as it is."""
    return (int(np.prod(shape)),) if tensor.name.endswith("bias") else shape


def _flat_shape(shape: tuple[int, ...], input_axes: int) -> tuple[int, int]:
    """A linear layer's [inputs, outputs] with its axes joined."""
    return int(np.prod(shape[:input_axes])), int(np.prod(shape[input_axes:]))


def save_params(folder: pathlib.Path, params: Params, config: ModelConfig, raw_config: dict[str, Any]) -> None:
    """Writes `model.safetensors` and `config.json`, which transformers loads."""

    def flatten(tensor: _Tensor, array: np.ndarray, input_axes: int) -> np.ndarray:
        if not tensor.is_linear:
            return np.ascontiguousarray(array.reshape(_flat_vector(tensor, array.shape)))
        return np.ascontiguousarray(array.reshape(_flat_shape(array.shape, input_axes)).T)

    host, layer_tensors = jax.tree.map(np.asarray, params), _layer_tensors(config)
    tensors = {_TOP[name].name: flatten(_TOP[name], host[name], 1) for name in host if name != "layers"}
    for name, stacked in host["layers"].items():
        for layer in range(config.num_layers):
            tensor = layer_tensors[name]
            tensors[_layer_name(layer, tensor)] = flatten(tensor, stacked[layer], num_input_axes(name))
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(raw_config, indent=2) + "\n")
