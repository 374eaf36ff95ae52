"""How a run is cut up: students into waves, and what the mesh must divide."""

from __future__ import annotations

import math
from typing import Any

from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.settings import require


def students_at_once(config: Any) -> int:
    """Students of an outer step that are trained and measured together; the rest wait for the next wave.

    Raises:
      SettingsError: waves would differ in size or cut a dataset.
    """
    outer, size = config.outer, config.inner.students_at_once
    students = outer.num_datasets * outer.students_per_dataset
    if size == 0:
        return students
    require(
        size > 0 and students % size == 0 and size % outer.students_per_dataset == 0,
        f"inner.students_at_once is {size}; it must be 0 (all), or a multiple of outer.students_per_dataset = "
        f"{outer.students_per_dataset} that divides all {students} students",
    )
    return size


def most_devices(config: Any, limit: int) -> int:
    """The most devices, at most `limit`, that a config's students and questions can be shared out to."""
    common = math.gcd(*_shared_by_population(config).values())
    return max(count for count in range(1, max(1, limit) + 1) if common % count == 0)


def _shared_by_population(config: Any) -> dict[str, int]:
    outer, waits = config.outer, config.inner.students_at_once
    wave = "inner.students_at_once" if waits else "outer.num_datasets * outer.students_per_dataset"
    return {
        wave: students_at_once(config),
        "outer.num_datasets * outer.questions_per_dataset": outer.num_datasets * outer.questions_per_dataset,
        "final.num_replicas": config.final.num_replicas,
    }


def check(mesh: Mesh, config: Any) -> None:
    """Refuses numbers of a config that a mesh cannot share out equally.

    Raises:
      SettingsError: with both numbers.
    """
    inner = config.inner
    fits = f"mesh.population = {most_devices(config, mesh.shape[parallel.POPULATION])} would divide all"
    for name, value in _shared_by_population(config).items():
        parallel.check_divides(mesh, name, value, help=fits)
    # Rows that a share of the population axis works on at once are shared out further.
    for name, value in {
        "student.rows_per_micro_batch": config.student.rows_per_micro_batch,
        "teacher.rows_per_micro_batch": config.teacher.rows_per_micro_batch,
        "inner.questions_per_step * inner.group_size": inner.questions_per_step * inner.group_size,
    }.items():
        parallel.check_divides(mesh, name, value, (parallel.DATA, parallel.FSDP))
