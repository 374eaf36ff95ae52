"""The device mesh, and the two ways that work is laid out on it.

| axis | shares out |
|---|---|
| population | students; each share trains its own |
| data | rows of a batch; parameters are copies |
| fsdp | rows of a batch, and parameters between their uses |
| tensor | heads, hidden dimension and vocabulary |

Any of them may be 1. A *population program* gives each share of `population` its students, each with its own
weights; a *row program* gives each its part of the rows of one policy. Within a share the compiler partitions the work
over the other axes, led by the constraints of `sharding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from soar_jax.settings import SettingsError, require

POPULATION, DATA, FSDP, TENSOR = AXES = ("population", "data", "fsdp", "tensor")
STUDENTS = "students"  # the vmapped axis of students that a device runs at once
BY_POPULATION = PartitionSpec(POPULATION)  # leading axis shared out over the population axis
REPLICATED = PartitionSpec()  # a copy in every share
MAX_CPU_DEVICES = 512  # far more than the cores they share; JAX takes minutes to make many more


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
    """A mesh of the four axes; one of them may be -1 and takes what is left.

    Devices of several slices are laid out so that only the first axis that their number divides (population, then
    data, then fsdp) crosses the slow network between slices.

    Args:
      devices: instead of all that JAX sees, for instance those of a topology that is not here.

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


def _sizes(wanted: tuple[int, ...], num_devices: int) -> tuple[int, ...]:
    named = ", ".join(f"mesh.{axis}={size}" for axis, size in zip(AXES, wanted, strict=True))
    require(all(size == -1 or size >= 1 for size in wanted), f"{named}: a size is 1 or more, or -1 for what is left")
    require(wanted.count(-1) <= 1, f"{named}: only one size may be -1")
    fixed = math.prod(size for size in wanted if size != -1)
    require(
        fixed <= num_devices and (-1 not in wanted or num_devices % fixed == 0),
        f"{named}: {fixed} devices{' or a multiple of them' if -1 in wanted else ''} are needed, but JAX sees "
        f"{num_devices} device(s); change the sizes, or on a CPU raise mesh.cpu_devices",
    )
    require(
        jax.process_count() == 1 or -1 in wanted or fixed == num_devices,
        f"{named} uses {fixed} of {num_devices} devices; with several processes the mesh must use all of them",
    )
    return tuple(num_devices // fixed if size == -1 else size for size in wanted)


def _across_slices(sizes: tuple[int, ...], num_slices: int, devices: list[Any]) -> np.ndarray:
    for axis in range(3):
        if sizes[axis] % num_slices == 0:
            between = tuple(num_slices if place == axis else 1 for place in range(4))
            within = tuple(size // outer for size, outer in zip(sizes, between, strict=True))
            return mesh_utils.create_hybrid_device_mesh(within, between, devices, allow_split_physical_axes=True)
    raise SettingsError(
        f"there are {num_slices} slices, which divide none of mesh.population={sizes[0]}, mesh.data={sizes[1]}, "
        f"mesh.fsdp={sizes[2]}; make one of them a multiple"
    )


def check_divides(
    mesh: Mesh, name: str, value: int, axes: Sequence[str] = (POPULATION,), help: str = "change one of them"
) -> None:
    """Refuses a size that cannot be shared out equally over axes of the mesh.

    Raises:
      SettingsError: with both numbers, and `help`.
    """
    size = math.prod(mesh.shape[axis] for axis in axes)
    named = " * ".join(f"mesh.{axis}" for axis in axes)
    require(value % size == 0, f"{name} is {value}, which {named} = {size} does not divide; {help}")


def shard_over_population(
    mesh: Mesh, function: Callable[..., Any], in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """`function` run by every share of the population axis on its own part (jax.shard_map over that axis alone)."""
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, axis_names={POPULATION}, check_vma=False
    )


def shard_over_rows(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(place, count, *arguments)` run by each of the `count` shares that rows have, in a share of population.

    The arguments are whole in each, and the results' leading axes are joined; so that loops in it end by themselves.
    """
    sizes = mesh.shape[DATA], mesh.shape[FSDP]

    def share(*arguments: Any) -> Any:
        place = jax.lax.axis_index(DATA) * sizes[1] + jax.lax.axis_index(FSDP)
        return function(place, math.prod(sizes), *arguments)

    rows = PartitionSpec((DATA, FSDP))
    return jax.shard_map(share, in_specs=REPLICATED, out_specs=rows, axis_names={DATA, FSDP}, check_vma=False)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies a pytree to every device."""
    return jax.tree.map(lambda leaf: device_put_global(leaf, NamedSharding(mesh, REPLICATED)), tree)


def shard_population(mesh: Mesh, tree: Any) -> Any:
    """Shares out the leading axis of every leaf over the population axis."""
    return jax.tree.map(lambda leaf: device_put_global(leaf, NamedSharding(mesh, BY_POPULATION)), tree)


def device_put_global(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process holds, or one that is on the mesh already, in a layout."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.jit(lambda x: x, out_shardings=sharding)(leaf)
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(device_put_global(np.asarray(jax.random.key_data(leaf)), sharding))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def map_students(function: Callable[[Any], Any], inputs: Any, population_batch: int) -> Any:
    """`function` over the leading axis of `inputs`, `population_batch` students at a time at most.

    A batch of 1 runs one student after another, the fastest on a CPU; on an accelerator a larger batch fills the
    device, and its members share the named axis STUDENTS.
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    if population_batch > 1:
        size = max(size for size in range(1, population_batch + 1) if count % size == 0)
        batches = jax.tree.map(lambda leaf: leaf.reshape(count // size, size, *leaf.shape[1:]), inputs)
        mapped = _map(jax.vmap(function, axis_name=STUDENTS), batches)
        return jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), mapped)
    return _map(function, inputs)


def _map(function: Callable[[Any], Any], inputs: Any) -> Any:
    if jax.tree.leaves(inputs)[0].shape[0] == 1:  # a loop would cost copies of what it carries
        return jax.tree.map(lambda leaf: leaf[None], function(jax.tree.map(lambda leaf: leaf[0], inputs)))
    return jax.lax.map(function, inputs)
