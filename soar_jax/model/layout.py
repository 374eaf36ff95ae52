"""Shardings of a policy's weights on the mesh, derived from the logical axes of the parameter table.

Between uses weights have their storage sharding (STORAGE_RULES); the decoder all-gathers them to their compute
sharding (COMPUTE_RULES).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import UNEMBEDDING, Adapter, LoRALinear, map_adapters
from soar_jax.model.parameters import Params, ParamSpec, map_table, num_input_axes, parameter_table
from soar_jax.parallel.mesh import DATA, FSDP, POPULATION, TENSOR, AnyMesh, device_put_global
from soar_jax.parallel.sharding import COMPUTE_RULES, SINGLE_POLICY_STORAGE_RULES, STORAGE_RULES, constrain, partition


def logical_axes(weights: Params, model: ModelConfig) -> Params:
    """Returns the pytree of `weights`, a full model or adapters, with a tuple of logical axes for each leaf."""
    table = parameter_table(model)
    if not any(isinstance(leaf, Adapter) for leaf in weights["layers"].values()):
        return map_table(lambda spec: spec.logical_axes, table)
    names = (*weights["layers"], UNEMBEDDING) if UNEMBEDDING in weights else tuple(weights["layers"])
    return map_adapters(_adapter_axes, names, table)


def _adapter_axes(name: str, spec: ParamSpec) -> Adapter:
    """Logical axes of an adapter; joined axes are sharded as the first of them."""
    stacked = spec.logical_axes[: 0 if name == UNEMBEDDING else 1]
    axes = spec.logical_axes[len(stacked) :]
    return Adapter((*stacked, axes[0], None), (*stacked, None, axes[num_input_axes(name)]))  # type: ignore[arg-type]


def _is_axes(node: Any) -> bool:
    return isinstance(node, tuple) and not isinstance(node, Adapter) and all(isinstance(a, str | None) for a in node)


def shardings(mesh: AnyMesh, model: ModelConfig, weights: Params, num_stacked: int = 0) -> Params:
    """Returns the storage sharding of weights, a NamedSharding for each leaf.

    Args:
      weights: arrays or their shapes, with `num_stacked` leading axes sharded over the population axis.
      num_stacked: 0 for one policy, 1 for a population.

    Raises:
      SettingsError: the mesh does not divide a size of the model.
    """
    rules = STORAGE_RULES if num_stacked else SINGLE_POLICY_STORAGE_RULES

    def one(axes: tuple[str | None, ...], leaf: Any) -> NamedSharding:
        spec = partition(mesh, rules, shape=leaf.shape[num_stacked:], logical_axes=axes)
        return NamedSharding(mesh, PartitionSpec(*((POPULATION,) * num_stacked), *spec))

    return jax.tree.map(one, logical_axes(weights, model), weights, is_leaf=_is_axes)


def state_shardings(
    mesh: AnyMesh,
    optimizer: optax.GradientTransformation,
    opt_state: Any,
    weight_shardings: Params,
    num_stacked: int = 0,
) -> Any:
    """Returns the shardings of an optimiser's state; its params-like leaves are sharded as the weights."""
    rest = NamedSharding(mesh, PartitionSpec(*((POPULATION,) * num_stacked)))
    return optax.tree.map_params(
        optimizer, lambda _, sharding: sharding, opt_state, weight_shardings, transform_non_params=lambda _: rest
    )


def shard_params(mesh: Mesh, model: ModelConfig, weights: Params) -> Params:
    """Shards one policy's weights, of which every process has a full copy, to their storage sharding."""
    return jax.tree.map(device_put_global, weights, shardings(mesh, model, weights))


def to_storage_sharding(weights: Params, model: ModelConfig) -> Params:
    """Constrains weights or their gradients to the storage sharding, inside a program on a mesh."""
    return jax.tree.map(
        lambda axes, leaf: constrain(leaf, *axes, rules=STORAGE_RULES),
        logical_axes(weights, model),
        weights,
        is_leaf=_is_axes,
    )


def to_compute_sharding(params: Params, model: ModelConfig) -> Params:
    """All-gathers decoder parameters, of a model, a layer or stacked layers, except over the tensor axis."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or math.prod(mesh.shape[axis] for axis in (DATA, FSDP, TENSOR)) == 1:
        return params
    table = parameter_table(model)
    table = table | table.pop("layers") if "layers" not in params else table

    def constrain_param(spec: ParamSpec, leaf: Any) -> Any:
        if isinstance(leaf, LoRALinear):
            return leaf._replace(weight=constrain_param(spec, leaf.weight))
        return constrain(leaf, *spec.logical_axes[-leaf.ndim :], rules=COMPUTE_RULES)

    def walk(specs: Params, node: Params) -> Params:
        return {
            name: walk(specs[name], leaf) if isinstance(leaf, dict) else constrain_param(specs[name], leaf)
            for name, leaf in node.items()
        }

    return walk(table, params)
