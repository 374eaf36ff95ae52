"""The device mesh, and the two ways to shard work over it.

| axis | shards |
|---|---|
| population | students; each shard trains its own |
| data | rows of a batch; parameters are replicated |
| fsdp | rows of a batch, and stored parameters |
| tensor | heads, hidden dimension and vocabulary |

Any of them may be 1. A *population program* shards students, each with its own weights, over the population axis; a
*row program* shards the rows of one policy over it. Within a shard the compiler partitions the work over the other
axes, guided by the constraints of `sharding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from soar_jax.errors import SettingsError, require

POPULATION, DATA, FSDP, TENSOR = AXES = ("population", "data", "fsdp", "tensor")
STUDENTS = "students"  # name of the vmapped axis of students that a device runs at once
BY_POPULATION = PartitionSpec(POPULATION)  # leading axis sharded over the population axis
AnyMesh: TypeAlias = Mesh | AbstractMesh  # of devices, or of as many that are not at hand
REPLICATED = PartitionSpec()  # a copy on every device
MAX_CPU_DEVICES = 512  # far more than any CPU has cores; JAX takes minutes to make many more


def set_num_cpu_devices(count: int) -> None:
    """Splits the CPU into `count` JAX devices; ignored where JAX runs on an accelerator.

    Must be called before JAX is first used.

    Raises:
      SettingsError: JAX has already started with another number.
    """
    require(1 <= count <= MAX_CPU_DEVICES, f"mesh.cpu_devices is {count}; it must be 1 to {MAX_CPU_DEVICES}")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        if jax.local_device_count() != count:
            raise SettingsError(
                f"mesh.cpu_devices is {count}, but JAX has already started with {jax.local_device_count()} devices"
            ) from None


def make_mesh(
    population: int, data: int = 1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """Makes a mesh of the four axes; one size may be -1 and takes the remaining devices.

    With several TPU slices only one axis crosses the slow network between them: the first of population, data and fsdp
    whose size is a multiple of the number of slices.

    Args:
      devices: used instead of `jax.devices()`, for instance those of a topology to compile for.

    Raises:
      SettingsError: the sizes do not fit the devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = _sizes((population, data, fsdp, tensor), len(devices))
    count = math.prod(sizes)
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if len(slices) > 1:
        return Mesh(_across_slices(sizes, len(slices), devices), AXES)
    if count < len(devices) or devices[0].platform == "cpu":
        return Mesh(np.array(devices[:count]).reshape(sizes), AXES)
    return Mesh(mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True), AXES)


def abstract_mesh(num_devices: int, *, population: int, data: int = 1, fsdp: int = 1, tensor: int = 1) -> AbstractMesh:
    """Makes the mesh of `make_mesh` for devices that are not at hand, to compute shardings with.

    Raises:
      SettingsError: the sizes do not fit the number of devices.
    """
    return AbstractMesh(_sizes((population, data, fsdp, tensor), num_devices, is_here=False), AXES)


def _sizes(wanted: tuple[int, ...], num_devices: int, *, is_here: bool = True) -> tuple[int, ...]:
    named = ", ".join(f"mesh.{axis}={size}" for axis, size in zip(AXES, wanted, strict=True))
    fixed = math.prod(size for size in wanted if size != -1)
    seen = f"JAX sees {num_devices} device(s)" if is_here else f"there are {num_devices} device(s)"
    require(
        fixed <= num_devices and (-1 not in wanted or num_devices % fixed == 0),
        f"{named}: {fixed} devices{' or a multiple of them' if -1 in wanted else ''} are needed, but {seen}; change "
        f"the sizes{', or on a CPU raise mesh.cpu_devices' if is_here else ''}",
    )
    require(
        -1 in wanted or fixed == num_devices or jax.process_count() == 1,
        f"{named} uses {fixed} of {num_devices} devices; with several processes the mesh must use all of them",
    )
    return tuple(num_devices // fixed if size == -1 else size for size in wanted)


def _across_slices(sizes: tuple[int, ...], num_slices: int, devices: list[Any]) -> np.ndarray:
    for axis in range(3):
        if sizes[axis] % num_slices == 0:
            between = tuple(num_slices if index == axis else 1 for index in range(4))
            within = tuple(size // outer for size, outer in zip(sizes, between, strict=True))
            return mesh_utils.create_hybrid_device_mesh(within, between, devices, allow_split_physical_axes=True)
    raise SettingsError(
        f"there are {num_slices} slices, which divide none of mesh.population={sizes[0]}, mesh.data={sizes[1]}, "
        f"mesh.fsdp={sizes[2]}; make one of them a multiple"
    )


def check_divides(
    mesh: AnyMesh, name: str, value: int, axes: Sequence[str] = (POPULATION,), help: str = "change one of them"
) -> None:
    """Checks that axes of the mesh divide a size.

    Raises:
      SettingsError: they do not; the message ends with `help`.
    """
    size = math.prod(mesh.shape[axis] for axis in axes)
    named = " * ".join(f"mesh.{axis}" for axis in axes)
    require(value % size == 0, f"{name} is {value}, which {named} = {size} does not divide; {help}")


def shard_over_population(
    mesh: Mesh, function: Callable[..., Any], in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """Maps `function` over the shards of the population axis (jax.shard_map over that axis alone)."""
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, axis_names={POPULATION}, check_vma=False
    )


def shard_over_rows(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """Maps `function(shard_index, num_shards, *arguments)` over the shards of the row axes data and fsdp.

    Arguments are replicated and results concatenated along their leading axis. For while loops that end at
    different times: each shard runs its own. Called within a shard of the population axis.
    """
    sizes = mesh.shape[DATA], mesh.shape[FSDP]

    def shard(*arguments: Any) -> Any:
        shard_index = jax.lax.axis_index(DATA) * sizes[1] + jax.lax.axis_index(FSDP)
        return function(shard_index, math.prod(sizes), *arguments)

    rows = PartitionSpec((DATA, FSDP))
    return jax.shard_map(shard, in_specs=REPLICATED, out_specs=rows, axis_names={DATA, FSDP}, check_vma=False)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Replicates a pytree on every device."""
    return jax.tree.map(lambda leaf: device_put_global(leaf, NamedSharding(mesh, REPLICATED)), tree)


def by_population(mesh: Mesh) -> NamedSharding:
    """The sharding of a leading axis over the population axis."""
    return NamedSharding(mesh, BY_POPULATION)


def shard_population(mesh: Mesh, tree: Any) -> Any:
    """Shards the leading axis of every leaf over the population axis."""
    return jax.tree.map(lambda leaf: device_put_global(leaf, by_population(mesh)), tree)


def device_put_global(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Puts an array that every process has, or one that is on the mesh already, into a sharding."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.jit(lambda x: x, out_shardings=sharding)(leaf)
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(device_put_global(np.asarray(jax.random.key_data(leaf)), sharding))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def map_students(
    function: Callable[[Any], Any], inputs: Any, population_batch: int, one_more: Any | None = None
) -> Any:
    """Maps `function` over the leading axis of `inputs`, at most `population_batch` students at a time.

    A batch of 1 runs students one after another, which is fastest on a CPU. A larger batch is vmapped over an axis
    named STUDENTS and fills an accelerator.

    Args:
      inputs: a pytree of leaves [P, ...].
      one_more: the input of one more student, leaves [...], which the same loop maps: as a student of equal weights, it
        has the same result to the bit.

    Returns:
      Leaves [P, ...], or [P + 1, ...] with `one_more` the last.
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    if population_batch == 1:
        return _map(function, inputs, one_more)
    size = max(size for size in range(1, population_batch + 1) if count % size == 0)
    batches = jax.tree.map(lambda leaf: leaf.reshape(count // size, size, *leaf.shape[1:]), inputs)
    more = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), one_more)
    mapped = _map(jax.vmap(function, axis_name=STUDENTS), batches, more)
    num_results = count if one_more is None else count + 1
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_results], mapped)


def _map(function: Callable[[Any], Any], inputs: Any, one_more: Any | None) -> Any:
    count = jax.tree.leaves(inputs)[0].shape[0]
    if one_more is not None:

        def turn(index: jax.Array) -> Any:
            return function(
                jax.tree.map(
                    lambda leaf, last: jnp.where(index == count, last, leaf[jnp.minimum(index, count - 1)]),
                    inputs,
                    one_more,
                )
            )

        return jax.lax.map(turn, jnp.arange(count + 1))
    if count == 1:  # a loop would copy its inputs
        return jax.tree.map(lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], inputs)))
    return jax.lax.map(function, inputs)
