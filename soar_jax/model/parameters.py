"""One table of a decoder's parameters; shapes, shardings and initialisers derive from it.

Einsum letters: D model dim, N query heads, K key heads, H head dim, F hidden dim,
V vocabulary, L layers.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp

from soar_jax.model.config import ModelConfig

Params = dict[str, Any]  # nested dict of arrays, the layout of `parameter_table`


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParamSpec:
    """One parameter: its shape, the logical name of each axis, and how it starts.

    `fan_in` is the number of inputs summed into one output; 0 means that the parameter is a norm's scale or a bias
    and starts at `start`.
    """

    shape: tuple[int, ...]
    logical_axes: tuple[str | None, ...]
    fan_in: int
    start: float = 1.0


def parameter_table(config: ModelConfig) -> Params:
    """The nested dict of `ParamSpec`s of a decoder; layers are stacked on a leading axis."""
    c = config
    norm = 0.0 if c.norm_plus_one else 1.0
    layer = {
        "attention_norm": ParamSpec(shape=(c.d_model,), logical_axes=(None,), fan_in=0, start=norm),
        "query": ParamSpec(
            shape=(c.d_model, c.num_heads, c.head_dim), logical_axes=("model", "heads", None), fan_in=c.d_model
        ),
        "key": ParamSpec(
            shape=(c.d_model, c.num_kv_heads, c.head_dim), logical_axes=("model", "kv_heads", None), fan_in=c.d_model
        ),
        "value": ParamSpec(
            shape=(c.d_model, c.num_kv_heads, c.head_dim), logical_axes=("model", "kv_heads", None), fan_in=c.d_model
        ),
        "out": ParamSpec(
            shape=(c.num_heads, c.head_dim, c.d_model),
            logical_axes=("heads", None, "model"),
            fan_in=c.num_heads * c.head_dim,
        ),
        "mlp_norm": ParamSpec(shape=(c.d_model,), logical_axes=(None,), fan_in=0, start=norm),
        "gate": ParamSpec(shape=(c.d_model, c.hidden_dim), logical_axes=("model", "hidden"), fan_in=c.d_model),
        "up": ParamSpec(shape=(c.d_model, c.hidden_dim), logical_axes=("model", "hidden"), fan_in=c.d_model),
        "down": ParamSpec(shape=(c.hidden_dim, c.d_model), logical_axes=("hidden", "model"), fan_in=c.hidden_dim),
    }
    if c.has_qkv_bias:
        layer["query_bias"] = ParamSpec(
            shape=(c.num_heads, c.head_dim), logical_axes=("heads", None), fan_in=0, start=0.0
        )
        layer |= {
            name: ParamSpec(shape=(c.num_kv_heads, c.head_dim), logical_axes=("kv_heads", None), fan_in=0, start=0.0)
            for name in ("key_bias", "value_bias")
        }
    if c.has_qk_norm:
        layer |= {
            name: ParamSpec(shape=(c.head_dim,), logical_axes=(None,), fan_in=0, start=norm)
            for name in ("query_norm", "key_norm")
        }
    if c.has_post_norms:
        layer |= {
            name: ParamSpec(shape=(c.d_model,), logical_axes=(None,), fan_in=0, start=norm)
            for name in ("attention_post_norm", "mlp_post_norm")
        }
    table: Params = {
        "embedding": ParamSpec(shape=(c.vocab_size, c.d_model), logical_axes=("vocab", "model"), fan_in=c.d_model),
        "layers": {
            name: ParamSpec(
                shape=(c.num_layers, *spec.shape),
                logical_axes=("layers", *spec.logical_axes),
                fan_in=spec.fan_in,
                start=spec.start,
            )
            for name, spec in layer.items()
        },
        "final_norm": ParamSpec(shape=(c.d_model,), logical_axes=(None,), fan_in=0, start=norm),
    }
    if not c.tie_embeddings:
        table["unembedding"] = ParamSpec(
            shape=(c.d_model, c.vocab_size), logical_axes=("model", "vocab"), fan_in=c.d_model
        )
    return table


def num_input_axes(name: str) -> int:
    """Leading axes of a linear layer that its inputs lie on (layers not counted); the others are its outputs."""
    return 2 if name == "out" else 1  # out is [N, H, D]


def _is_spec(node: object) -> bool:
    return isinstance(node, ParamSpec)


def map_table(function: Any, table: Params) -> Params:
    """Applies `function(spec)` to every `ParamSpec` of a table."""
    return jax.tree.map(function, table, is_leaf=_is_spec)


def abstract_params(config: ModelConfig) -> Params:
    """`jax.ShapeDtypeStruct`s of a decoder's parameters, without allocating them."""
    return map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, config.dtype), parameter_table(config))


def init_params(config: ModelConfig, key: jax.Array) -> Params:
    """Fresh parameters: normal with variance 1 / fan_in; norms' scales and biases as their specs say.

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
    sizes = map_table(lambda spec: math.prod(spec.shape), parameter_table(config))
    return sum(jax.tree.leaves(sizes))
