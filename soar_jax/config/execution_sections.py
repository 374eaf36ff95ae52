"""Config sections that change how a run executes but not its results."""

from __future__ import annotations

import dataclasses
import re

from soar_jax.config.fields import Section, at_least, distinct, registered, satisfies, setting

_ONE = at_least(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshSection(Section):
    """Sizes of the mesh axes; -1 takes the devices that are left."""

    population: int = setting(4, "shards of the students", execution_only=True)
    data: int = setting(1, "shards of a batch's rows, each with a copy of the parameters", execution_only=True)
    fsdp: int = setting(-1, "shards of rows and of parameters", execution_only=True)
    tensor: int = setting(2, "shards of heads, hidden dimension and vocabulary", execution_only=True)
    cpu_devices: int = setting(2, "devices that a CPU is split into, at most its cores", _ONE, execution_only=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSection(Section):
    """How sampling uses a device."""

    max_slots: int = setting(
        0,
        "rows that a device decodes at once; 0: as many as its memory holds, 8 to 256; on a CPU 64",
        at_least(0, "by memory"),
        execution_only=True,
    )
    population_batch: int = setting(
        0,
        "students that a device decodes at once; 0: 1 on a CPU and where whole models are trained, otherwise as many "
        "as fit, since they share a frozen base",
        at_least(0, "by device"),
        execution_only=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointsSection(Section):
    """Which checkpoints are kept."""

    keep: int = setting(2, "number of newest checkpoints to keep", _ONE, execution_only=True)
    keep_every: int = setting(0, "also keep every N-th step; 0 is off", at_least(0, "none"), execution_only=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingSection(Section):
    """Programs that show a run's metrics."""

    trackers: tuple[str, ...] = setting(
        ("tensorboard",),
        "programs that show metrics, each but 'tensorboard' with the extra of its name; may be empty",
        registered,
        distinct,
        execution_only=True,
        legacy=("tensorboard",),
    )
    project: str = setting(
        "soar_jax",
        "project of the run in wandb and trackio, experiment in mlflow",
        satisfies(lambda value: bool(re.fullmatch(r"[\w.-]{1,100}", value)), "use letters, digits, _ . and - only"),
        execution_only=True,
        legacy="soar_jax",
    )
    offline: bool = setting(
        False,
        "True sends nothing: wandb and mlflow write into the workdir, trackio into its folder on this machine",
        execution_only=True,
        legacy=False,
    )
