"""Table of a decoder's parameters, from which shapes, shardings and initialisers derive."""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp

from soar_jax.model.config import ModelConfig

Params = dict[str, Any]  # nested dict of arrays, structured as `parameter_table`


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParamSpec:
    """Shape, logical axes and initialisation of one parameter."""

    shape: tuple[int, ...]
    logical_axes: tuple[str | None, ...]
    fan_in: int  # inputs summed into one output; 0: a norm's scale or a bias, initialised to `start`
    start: float = 1.0


def parameter_table(config: ModelConfig) -> Params:
    """Returns the nested dict of `ParamSpec`s of a decoder; layers are stacked on a leading axis."""
    c = config
    layer = {
        "query": _linear("query", (c.d_model, c.num_heads, c.head_dim), ("model", "heads", None)),
        "key": _linear("key", (c.d_model, c.num_kv_heads, c.head_dim), ("model", "kv_heads", None)),
        "value": _linear("value", (c.d_model, c.num_kv_heads, c.head_dim), ("model", "kv_heads", None)),
        "out": _linear("out", (c.num_heads, c.head_dim, c.d_model), ("heads", None, "model")),
        "gate": _linear("gate", (c.d_model, c.hidden_dim), ("model", "hidden")),
        "up": _linear("up", (c.d_model, c.hidden_dim), ("model", "hidden")),
        "down": _linear("down", (c.hidden_dim, c.d_model), ("hidden", "model")),
    }
    if c.has_qkv_bias:
        for name in ("query", "key", "value"):
            shape, axes = layer[name].shape[1:], layer[name].logical_axes[1:]
            layer[f"{name}_bias"] = ParamSpec(shape=shape, logical_axes=axes, fan_in=0, start=0.0)
    if c.has_qk_norm:
        layer["query_norm"] = _head_norm(c, "heads", c.num_heads)
        layer["key_norm"] = _head_norm(c, "kv_heads", c.num_kv_heads)
    if c.has_pre_norms:
        layer |= {name: _norm(c, c.d_model) for name in ("attention_norm", "mlp_norm")}
    if c.has_post_norms:
        layer |= {name: _norm(c, c.d_model) for name in ("attention_post_norm", "mlp_post_norm")}
    table: Params = {
        "embedding": ParamSpec(shape=(c.vocab_size, c.d_model), logical_axes=("vocab", "model"), fan_in=c.d_model),
        "layers": {name: _stack(spec, c.num_layers) for name, spec in layer.items()},
        "final_norm": _norm(c, c.d_model),
    }
    if not c.tie_embeddings:
        table["unembedding"] = _linear("unembedding", (c.d_model, c.vocab_size), ("model", "vocab"))
    return table


def _norm(config: ModelConfig, size: int) -> ParamSpec:
    return ParamSpec(shape=(size,), logical_axes=(None,), fan_in=0, start=0.0 if config.norm_plus_one else 1.0)


def _head_norm(config: ModelConfig, axis: str, num_heads: int) -> ParamSpec:
    each = _norm(config, config.head_dim)
    if not config.qk_norm_joins_heads:
        return each
    return dataclasses.replace(each, shape=(num_heads, config.head_dim), logical_axes=(axis, None))


def _linear(name: str, shape: tuple[int, ...], logical_axes: tuple[str | None, ...]) -> ParamSpec:
    return ParamSpec(shape=shape, logical_axes=logical_axes, fan_in=math.prod(shape[: num_input_axes(name)]))


def _stack(spec: ParamSpec, num_layers: int) -> ParamSpec:
    shape, axes = (num_layers, *spec.shape), ("layers", *spec.logical_axes)
    return dataclasses.replace(spec, shape=shape, logical_axes=axes)


def num_input_axes(name: str) -> int:
    """Number of leading input axes of a linear layer, layers not counted; its other axes are outputs."""
    return 2 if name == "out" else 1  # out is [N, H, D]


def _is_spec(node: object) -> bool:
    return isinstance(node, ParamSpec)


def map_table(function: Any, table: Params) -> Params:
    """Applies `function(spec)` to every `ParamSpec` of a table."""
    return jax.tree.map(function, table, is_leaf=_is_spec)


def abstract_params(config: ModelConfig) -> Params:
    """Returns the `jax.ShapeDtypeStruct`s of a decoder's parameters."""
    return map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, config.dtype), parameter_table(config))


def init_params(config: ModelConfig, key: jax.Array) -> Params:
    """Initialises parameters: normal with variance 1 / fan_in; norm scales and biases as in the table.

    Each parameter's key is folded in by its name, so adding one does not change the others.
    """

    def init(path: tuple[Any, ...], spec: ParamSpec) -> jax.Array:
        if spec.fan_in == 0:
            return jnp.full(spec.shape, spec.start, config.dtype)
        name = zlib.crc32(jax.tree_util.keystr(path).encode())
        values = jax.random.normal(jax.random.fold_in(key, name), spec.shape, jnp.float32)
        return (values / math.sqrt(spec.fan_in)).astype(config.dtype)

    return jax.tree_util.tree_map_with_path(init, parameter_table(config), is_leaf=_is_spec)


def num_parameters(config: ModelConfig) -> int:
    """Number of scalars in a decoder's parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(config)))
