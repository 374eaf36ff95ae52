"""From logical axes to the mesh: the one table of rules, and the constraints that lead the compiler by it.

Every array names its axes by what they hold ("heads", "rows", …); which mesh axis shares them out stands here alone.
Parameters have two layouts: *kept*, between their uses, shared out as far as it goes; and *used*, whole but for the
tensor axis. The compiler gathers the one into the other, a layer at a time where layers are scanned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from soar_jax.parallel.mesh import DATA, FSDP, POPULATION, TENSOR
from soar_jax.settings import SettingsError

LogicalAxes = Sequence[str | None]

COMPUTE_RULES: dict[str, tuple[str, ...]] = {
    "rows": (DATA, FSDP),
    "heads": (TENSOR,),
    "kv_heads": (TENSOR,),
    "hidden": (TENSOR,),
    "vocab": (TENSOR,),
}
STORAGE_RULES = COMPUTE_RULES | {"model": (FSDP,)}
# A single policy is also shared out over the population axis where it is shared out at all.
SINGLE_POLICY_STORAGE_RULES = STORAGE_RULES | {"model": (FSDP, POPULATION)}
_MAY_STAY_WHOLE = ("vocab", "rows")  # come in all sizes; where the mesh does not divide them they are not shared out


def partition(
    mesh: Mesh | jax.sharding.AbstractMesh,
    rules: dict[str, tuple[str, ...]],
    shape: Sequence[int],
    logical_axes: LogicalAxes,
) -> PartitionSpec:
    """The PartitionSpec of an array.

    Raises:
      SettingsError: two of its axes go to one mesh axis, or a size is not divided.
    """
    manual = mesh.manual_axes if isinstance(mesh, jax.sharding.AbstractMesh) else ()  # what is there is a share already
    parts: list[tuple[str, ...] | None] = []
    for size, name in zip(shape, logical_axes, strict=True):
        axes = tuple(axis for axis in rules.get(name or "", ()) if axis not in manual)
        if POPULATION in axes and (mesh.shape[FSDP] == 1 or size % math.prod(mesh.shape[axis] for axis in axes)):
            axes = tuple(axis for axis in axes if axis != POPULATION)
        shares = math.prod(mesh.shape[axis] for axis in axes)
        if size % shares and name in _MAY_STAY_WHOLE:
            axes = ()
        elif size % shares:
            raise SettingsError(
                f"the model's axis {name!r} has size {size}, which {' * '.join(f'mesh.{a}' for a in axes)} = {shares} "
                "does not divide; change the mesh"
            )
        parts.append(axes or None)
    used = [axis for part in parts if part for axis in part]
    if len(used) != len(set(used)):
        raise SettingsError(f"logical axes {tuple(logical_axes)} share a mesh axis; change the rules")
    return PartitionSpec(*parts)


def constrain(x: jax.Array, *logical_axes: str | None, rules: dict[str, tuple[str, ...]] = COMPUTE_RULES) -> jax.Array:
    """Lays an array out in a program that runs on a mesh; elsewhere the array as it is."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or math.prod(mesh.shape[axis] for axis in (DATA, FSDP, TENSOR)) == 1:
        return x
    return jax.lax.with_sharding_constraint(x, partition(mesh, rules, shape=x.shape, logical_axes=logical_axes))


def embed_tokens(table: jax.Array, tokens: jax.Array) -> jax.Array:
    """Rows [B, T, D] of an embedding [V, D], each share giving what it has: one that is kept is not gathered."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return table[tokens]
    spec = partition(mesh, STORAGE_RULES, shape=table.shape, logical_axes=("vocab", "model"))
    row_spec = PartitionSpec(partition(mesh, COMPUTE_RULES, shape=tokens.shape, logical_axes=("rows", None))[0])
    shares_vocab, shares_model = (part is not None and mesh.shape[part] > 1 for part in spec)
    if not shares_vocab and not shares_model:
        return constrain(table[tokens], "rows", None, None)

    # By hand, since the compiler would gather the table, or move it to another layout and back.
    def share(table: jax.Array, tokens: jax.Array) -> jax.Array:
        if not shares_model:
            return _rows_here(table, tokens, shares_vocab)
        if row_spec[0] is None:
            return jax.lax.all_gather(_rows_here(table, tokens, shares_vocab), FSDP, axis=2, tiled=True)
        rows = _rows_here(table, jax.lax.all_gather(tokens, FSDP, tiled=True), shares_vocab)
        return jax.lax.all_to_all(rows, FSDP, split_axis=0, concat_axis=2, tiled=True)

    return jax.shard_map(
        share,
        in_specs=(spec, row_spec),
        out_specs=row_spec,
        axis_names={DATA, FSDP, TENSOR} - set(mesh.manual_axes),
        check_vma=False,
    )(table, tokens)


def _rows_here(table: jax.Array, tokens: jax.Array, shares_vocab: bool) -> jax.Array:
    """Rows of a device's share [V', D'] of a table; those of another share of the vocabulary come from there."""
    if not shares_vocab:
        return table[tokens]
    places = tokens - jax.lax.axis_index(TENSOR) * table.shape[0]
    is_here = (places >= 0) & (places < table.shape[0])
    rows = table[jnp.where(is_here, places, 0)]
    return jax.lax.psum(jnp.where(is_here[..., None], rows, 0), TENSOR)


def per_row(function: Callable[..., jax.Array], whole: Any, *by_rows: jax.Array) -> jax.Array:
    """`function(whole, *by_rows)`, each device giving the rows that it has.

    For loops that read `whole` and have a gradient to it: it is gathered, and its gradient added up over the devices,
    once, where the compiler would do both in every turn.

    Args:
      function: gives an array [B, ...] of arrays [B, ...], each row by itself.
      whole: a pytree that every row needs.
    """
    mesh = jax.sharding.get_abstract_mesh()
    rows = None if mesh.empty else partition(mesh, COMPUTE_RULES, shape=by_rows[0].shape[:1], logical_axes=("rows",))[0]
    if not rows or math.prod(mesh.shape[axis] for axis in rows) == 1:
        return function(whole, *by_rows)
    row_spec = PartitionSpec(rows)
    in_specs = (PartitionSpec(), *(row_spec,) * len(by_rows))
    return jax.shard_map(function, in_specs=in_specs, out_specs=row_spec, axis_names=set(rows), check_vma=False)(
        whole, *by_rows
    )
