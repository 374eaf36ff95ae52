"""Sharding rules from logical axes to mesh axes, and the constraints that apply them.

Arrays name their axes by content ("heads", "rows", …); only the rules here map these names to mesh axes. Parameters are
stored fully sharded (STORAGE_RULES) and all-gathered for compute, except over the tensor axis (COMPUTE_RULES). The
compiler gathers them one layer at a time where layers are scanned.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from soar_jax.errors import SettingsError
from soar_jax.parallel.mesh import DATA, FSDP, POPULATION, TENSOR

LogicalAxes = Sequence[str | None]

COMPUTE_RULES: dict[str, tuple[str, ...]] = {
    "rows": (DATA, FSDP),
    "heads": (TENSOR,),
    "kv_heads": (TENSOR,),
    "hidden": (TENSOR,),
    "vocab": (TENSOR,),
}
STORAGE_RULES = COMPUTE_RULES | {"model": (FSDP,)}
# Where fsdp shards a single policy, the population axis shards it further.
SINGLE_POLICY_STORAGE_RULES = STORAGE_RULES | {"model": (FSDP, POPULATION)}
_MAY_REPLICATE = ("vocab", "rows")  # replicated where the mesh does not divide them, since they come in all sizes


def partition(
    mesh: Mesh | jax.sharding.AbstractMesh,
    rules: dict[str, tuple[str, ...]],
    shape: Sequence[int],
    logical_axes: LogicalAxes,
) -> PartitionSpec:
    """Builds the PartitionSpec of an array.

    Raises:
      SettingsError: two axes of the array map to one mesh axis, or the mesh does not divide a size.
    """
    manual = mesh.manual_axes if isinstance(mesh, jax.sharding.AbstractMesh) else ()  # sharded by shard_map already
    spec: list[tuple[str, ...] | None] = []
    for size, name in zip(shape, logical_axes, strict=True):
        axes = tuple(axis for axis in rules.get(name or "", ()) if axis not in manual)
        if POPULATION in axes and (mesh.shape[FSDP] == 1 or size % math.prod(mesh.shape[axis] for axis in axes)):
            axes = tuple(axis for axis in axes if axis != POPULATION)
        num_shards = math.prod(mesh.shape[axis] for axis in axes)
        if size % num_shards and name in _MAY_REPLICATE:
            axes = ()
        elif size % num_shards:
            raise SettingsError(
                f"the model's axis {name!r} has size {size}, which {' * '.join(f'mesh.{a}' for a in axes)} = "
                f"{num_shards} does not divide; change the mesh"
            )
        spec.append(axes or None)
    used = [axis for axes in spec for axis in axes or ()]
    if len(used) != len(set(used)):
        raise SettingsError(f"logical axes {tuple(logical_axes)} share a mesh axis; change the rules")
    return PartitionSpec(*spec)


def constrain(x: jax.Array, *logical_axes: str | None, rules: dict[str, tuple[str, ...]] = COMPUTE_RULES) -> jax.Array:
    """Constrains the sharding of an array within a program that runs on a mesh; elsewhere returns it unchanged."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or math.prod(mesh.shape[axis] for axis in (DATA, FSDP, TENSOR)) == 1:
        return x
    return jax.lax.with_sharding_constraint(x, partition(mesh, rules, shape=x.shape, logical_axes=logical_axes))


def num_row_shards() -> int:
    """Number of shards of rows in a program that runs on a mesh; elsewhere 1."""
    mesh = jax.sharding.get_abstract_mesh()
    axes = () if mesh.empty else tuple(axis for axis in COMPUTE_RULES["rows"] if axis not in mesh.manual_axes)
    return math.prod(mesh.shape[axis] for axis in axes)


def embed_tokens(table: jax.Array, tokens: jax.Array) -> jax.Array:
    """Looks up rows [B, T, D] of an embedding [V, D] on its shards, without gathering a table in storage sharding."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return table[tokens]
    spec = partition(mesh, STORAGE_RULES, shape=table.shape, logical_axes=("vocab", "model"))
    row_spec = PartitionSpec(partition(mesh, COMPUTE_RULES, shape=tokens.shape, logical_axes=("rows", None))[0])
    vocab_sharded, model_sharded = (axes is not None and mesh.shape[axes] > 1 for axes in spec)
    if not vocab_sharded and not model_sharded:
        return constrain(table[tokens], "rows", None, None)

    # With explicit collectives, since the compiler would gather the table, or reshard it and back.
    def embed_shard(table: jax.Array, tokens: jax.Array) -> jax.Array:
        if not model_sharded:
            return _lookup(table, tokens, vocab_sharded)
        if row_spec[0] is None:
            return jax.lax.all_gather(_lookup(table, tokens, vocab_sharded), FSDP, axis=2, tiled=True)
        rows = _lookup(table, jax.lax.all_gather(tokens, FSDP, tiled=True), vocab_sharded)
        return jax.lax.all_to_all(rows, FSDP, split_axis=0, concat_axis=2, tiled=True)

    return jax.shard_map(
        embed_shard,
        in_specs=(spec, row_spec),
        out_specs=row_spec,
        axis_names={DATA, FSDP, TENSOR} - set(mesh.manual_axes),
        check_vma=False,
    )(table, tokens)


def _lookup(table: jax.Array, tokens: jax.Array, vocab_sharded: bool) -> jax.Array:
    """Rows of a shard [V', D'] of a table, summed over the shards of the vocabulary."""
    if not vocab_sharded:
        return table[tokens]
    index = tokens - jax.lax.axis_index(TENSOR) * table.shape[0]
    is_local = (index >= 0) & (index < table.shape[0])
    rows = table[jnp.where(is_local, index, 0)]
    return jax.lax.psum(jnp.where(is_local[..., None], rows, 0), TENSOR)


def take_rows(table: jax.Array, index: jax.Array) -> jax.Array:
    """Looks up table[index] for the rows of a batch, [B, ...], where each device needs all of the table.

    Each device looks up its own rows: the compiler cannot partition such a gather within a shard of the population.
    """
    return per_row(operator.getitem, table, index)


def per_row(function: Callable[..., jax.Array], shared: Any, *by_row: jax.Array) -> jax.Array:
    """Computes `function(shared, *by_row)` on the row shards of the devices.

    For functions with a loop that reads `shared` and needs its gradient: `shared` is gathered once and its gradient
    summed over the devices once, where the compiler would do both in every turn.

    Args:
      function: maps arrays [B, ...] to an array [B, ...], each row independently.
      shared: a pytree that every row needs.
    """
    mesh = jax.sharding.get_abstract_mesh()
    rows = None if mesh.empty else partition(mesh, COMPUTE_RULES, shape=by_row[0].shape[:1], logical_axes=("rows",))[0]
    if not rows or math.prod(mesh.shape[axis] for axis in rows) == 1:
        return function(shared, *by_row)
    row_spec = PartitionSpec(rows)
    in_specs = (PartitionSpec(), *(row_spec,) * len(by_row))
    return jax.shard_map(function, in_specs=in_specs, out_specs=row_spec, axis_names=set(rows), check_vma=False)(
        shared, *by_row
    )
