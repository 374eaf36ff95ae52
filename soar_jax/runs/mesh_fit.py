"""Checks that the mesh divides the sizes of a run that are sharded over it."""

from __future__ import annotations

import math

from soar_jax import parallel
from soar_jax.config.run_config import RunConfig


def most_devices(config: RunConfig, limit: int) -> int:
    """Returns the largest number of devices, at most `limit`, over which students and questions can be sharded."""
    common = math.gcd(*_sharded_over_population(config).values())
    return max(count for count in range(1, max(1, limit) + 1) if common % count == 0)


def _sharded_over_population(config: RunConfig) -> dict[str, int]:
    """Returns the sizes that the population axis must divide, by config key."""
    wave = "inner.students_at_once" if config.students_at_once < config.num_students else None
    return {
        wave or "outer.num_datasets * outer.students_per_dataset": config.students_at_once,
        "outer.num_datasets * outer.questions_per_dataset": config.num_written,
        "final.num_replicas": config.final.num_replicas,
    }


def check_mesh_fit(mesh: parallel.AnyMesh, config: RunConfig) -> None:
    """Checks that the mesh divides the sizes that are sharded over it.

    Raises:
      SettingsError: the mesh does not divide a size.
    """
    fits = f"mesh.population = {most_devices(config, mesh.shape[parallel.POPULATION])} would divide all"
    for name, value in _sharded_over_population(config).items():
        parallel.check_divides(mesh, name, value, help=fits)
    # Within a shard of the population axis, rows are sharded over data and fsdp.
    for name, value in {
        "student.rows_per_micro_batch": config.student.rows_per_micro_batch,
        "teacher.rows_per_micro_batch": config.teacher.rows_per_micro_batch,
        "inner.questions_per_step * inner.group_size": config.inner.questions_per_step * config.inner.group_size,
    }.items():
        parallel.check_divides(mesh, name, value, axes=(parallel.DATA, parallel.FSDP))
