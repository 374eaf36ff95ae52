"""The device mesh, and the two ways that work is laid out on it.

The mesh has one axis, `population`. A *population program* gives each device its share
of the students, each with its own parameters; a *row program* gives each device its
share of the rows of one policy, whose parameters every device holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from soar_jax.settings import SettingsError, require

POPULATION = "population"
SPLIT = PartitionSpec(POPULATION)  # leading axis shared out over the devices
WHOLE = PartitionSpec()  # a copy on every device
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
        if jax.device_count() != count:
            raise SettingsError(
                f"mesh.cpu_devices is {count}, but JAX has already started with {jax.device_count()} devices"
            ) from None


def make_mesh(population: int) -> Mesh:
    """A mesh of `population` devices; -1 takes all there are.

    Raises:
      SettingsError: there are fewer devices.
    """
    devices = jax.devices()
    size = len(devices) if population == -1 else population
    require(
        1 <= size <= len(devices),
        f"mesh.population is {population}, but JAX sees {len(devices)} device(s): "
        "use -1 for all of them, or on a CPU raise mesh.cpu_devices",
    )
    return Mesh(np.array(devices[:size]), (POPULATION,))


def check_divides(mesh: Mesh, name: str, value: int) -> None:
    """Refuses a size that cannot be shared out equally over the mesh.

    Raises:
      SettingsError: with both numbers.
    """
    size = mesh.shape[POPULATION]
    require(
        value % size == 0,
        f"{name} is {value}, which mesh.population = {size} does not divide; change one of them",
    )


def spread(mesh: Mesh, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """`function` run by every device on its own part (jax.shard_map over the mesh)."""
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies a pytree to every device."""
    return jax.device_put(tree, NamedSharding(mesh, WHOLE))


def split(mesh: Mesh, tree: Any) -> Any:
    """Shares out the leading axis of every leaf."""
    return jax.device_put(tree, NamedSharding(mesh, SPLIT))


def map_students(function: Callable[[Any], Any], inputs: Any, population_batch: int) -> Any:
    """`function` over the leading axis of `inputs`, `population_batch` students at a time.

    A batch of 1 runs one student after another, the fastest on a CPU; on an accelerator
    a larger batch fills the device.
    """
    if population_batch == 1:
        return jax.lax.map(function, inputs)
    return jax.lax.map(function, inputs, batch_size=population_batch)
