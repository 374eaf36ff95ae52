"""Reads and writes the weights of a Hugging Face folder (`config.json`, safetensors).

Both derive from one table, from the decoder's parameters to the tensors of a checkpoint.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import math
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from jax.sharding import Mesh, NamedSharding

from soar_jax.checkpoints import config_json
from soar_jax.checkpoints.families import FAMILIES
from soar_jax.checkpoints.safetensors_folder import TensorSource, read_json
from soar_jax.errors import SettingsError, require
from soar_jax.model import layout
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import LAYERS, UNEMBEDDING
from soar_jax.model.parameters import Params, map_table, num_input_axes, parameter_table
from soar_jax.model.rounding import round_array

_TOP = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    UNEMBEDDING: "lm_head.weight",
}
_LAYER = {
    "attention_norm": "input_layernorm.weight",
    "query": "self_attn.q_proj.weight",
    "key": "self_attn.k_proj.weight",
    "value": "self_attn.v_proj.weight",
    "out": "self_attn.o_proj.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
    "query_bias": "self_attn.q_proj.bias",
    "key_bias": "self_attn.k_proj.bias",
    "value_bias": "self_attn.v_proj.bias",
    "query_norm": "self_attn.q_norm.weight",
    "key_norm": "self_attn.k_norm.weight",
}
# In models that also have norms after attention and feed-forward, post_attention_layernorm is another norm.
_LAYER_WITH_POST_NORMS = _LAYER | {
    "attention_post_norm": "post_attention_layernorm.weight",
    "mlp_norm": "pre_feedforward_layernorm.weight",
    "mlp_post_norm": "post_feedforward_layernorm.weight",
}
_LINEAR = (*LAYERS, UNEMBEDDING)


class _Place(NamedTuple):
    """Where a checkpoint has a parameter of a layer: a tensor, or rows of one that holds several parameters."""

    tensor: str
    num_rows: int | None = None  # of the tensor, if it holds several
    rows: slice = slice(None)


def _place(config: ModelConfig, name: str, layer: int) -> _Place:
    prefix = f"model.layers.{layer}."
    for tensor, parts in FAMILIES[config.family].fused.items():
        if name in parts:
            ends = list(itertools.accumulate(_num_rows(config, part) for part in parts))
            end = ends[parts.index(name)]
            return _Place(prefix + tensor, ends[-1], slice(end - _num_rows(config, name), end))
    names = _LAYER_WITH_POST_NORMS if config.has_post_norms else _LAYER
    return _Place(prefix + names[name])


def _num_rows(config: ModelConfig, name: str) -> int:
    return _tensor_shape(name, parameter_table(config)["layers"][name].shape[1:])[0]


def _tensor_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in the checkpoint of one layer's parameter: linear layers are [outputs, inputs], others have one axis."""
    if name in _LINEAR:
        num_inputs = num_input_axes(name)
        return math.prod(shape[num_inputs:]), math.prod(shape[:num_inputs])
    return shape if name == "embedding" else (math.prod(shape),)


def read_config(folder: pathlib.Path, dtype: str) -> ModelConfig:
    """Reads the architecture from `config.json`.

    Raises:
      SettingsError: the file is missing, is not JSON, or describes another architecture.
    """
    try:
        return config_json.from_hugging_face(read_json(folder / "config.json"), dtype)
    except FileNotFoundError:
        raise SettingsError(f"no config.json in {folder}; model.source must be a Hugging Face folder") from None


def load_params(source: TensorSource, config: ModelConfig, dtype: str, mesh: Mesh | None = None) -> Params:
    """Reads a checkpoint into the structure of `parameter_table`, in a dtype; rounded to it as programs round weights.

    Args:
      mesh: if given, parameters are put on it in their storage sharding, and each process reads only the shards of its
        devices; else they are NumPy arrays.

    Raises:
      SettingsError: a tensor is missing or has another shape than the config implies.
    """
    shapes = map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, dtype), parameter_table(config))
    read = functools.partial(_read_shard, source, config)
    if mesh is None:
        return jax.tree_util.tree_map_with_path(lambda path, leaf: read(path, leaf, (slice(None),) * leaf.ndim), shapes)

    def load(path: Any, leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.Array:
        newest: dict[str, np.ndarray] = {}  # devices with the same shard read it once

        def shard(index: Any) -> np.ndarray:  # a tuple of slices
            if str(index) not in newest:
                newest.clear()
                newest[str(index)] = read(path, leaf, index)
            return newest[str(index)]

        return jax.make_array_from_callback(leaf.shape, sharding, shard)

    return jax.tree_util.tree_map_with_path(load, shapes, layout.shardings(mesh, config, shapes))


def _read_shard(
    source: TensorSource, config: ModelConfig, path: Any, leaf: jax.ShapeDtypeStruct, index: tuple[slice, ...]
) -> np.ndarray:
    """Reads the shard at `index` of the parameter at a path of the table; holds one full tensor at a time."""
    name = path[-1].key
    if len(path) == 1:
        tensor = _read_tensor(source, _Place(_TOP[name]), name=name, shape=leaf.shape)
        return round_array(tensor[index], leaf.dtype, name, layer=0, shape=leaf.shape, part=index)
    layers = range(config.num_layers)[index[0]]
    shape = tuple(len(range(size)[part]) for size, part in zip(leaf.shape[1:], index[1:], strict=True))
    array = _empty((len(layers), *shape), leaf.dtype, name)
    for place, layer in enumerate(layers):
        tensor = _read_tensor(source, _place(config, name, layer), name=name, shape=leaf.shape[1:])
        array[place] = round_array(
            tensor[index[1:]], leaf.dtype, name, layer=layer, shape=leaf.shape[1:], part=index[1:]
        )
    return array


def _read_tensor(source: TensorSource, place: _Place, name: str, shape: tuple[int, ...]) -> np.ndarray:
    array, expected = source.get(place.tensor), _tensor_shape(name, shape)
    expected = (place.num_rows or expected[0], *expected[1:])
    require(array.shape == expected, f"tensor {place.tensor} has shape {array.shape}, config.json implies {expected}")
    array = array[place.rows]
    return (array.T if name in _LINEAR else array).reshape(shape)


def _empty(shape: tuple[int, ...], dtype: np.dtype, name: str) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):  # ValueError: larger than any array can be
        raise SettingsError(
            f"config.json implies parameters ({name}: {shape} of {dtype}) that are more than this host's memory holds"
        ) from None


def save_params(folder: pathlib.Path, params: Params, config: ModelConfig, raw_config: dict[str, Any]) -> None:
    """Writes `model.safetensors` and `config.json`, which transformers loads."""

    def flatten(name: str, array: np.ndarray) -> np.ndarray:
        shape = _tensor_shape(name, array.shape)
        return np.ascontiguousarray(array.reshape(shape[::-1]).T if name in _LINEAR else array.reshape(shape))

    arrays = jax.tree.map(np.asarray, params)
    tensors = {_TOP[name]: flatten(name, array) for name, array in arrays.items() if name != "layers"}
    parts: dict[str, list[tuple[int, np.ndarray]]] = collections.defaultdict(list)  # of each tensor, by first row
    for name, stacked in arrays["layers"].items():
        for layer, array in enumerate(stacked):
            place = _place(config, name, layer)
            parts[place.tensor].append((place.rows.start or 0, flatten(name, array)))
    for tensor, found in parts.items():
        tensors[tensor] = np.concatenate([rows for _, rows in sorted(found, key=lambda part: part[0])])
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(raw_config, indent=2) + "\n")
