"""Compiles every program of a run for a TPU slice or GPUs that are not attached; prints memory and collectives.

    python experiments/compile_check.py --config=configs/soar_math.py:llama3.2-3b --topology=v6e:4x4
    python experiments/compile_check.py --config=configs/soar_math.py:llama3.2-3b --topology=h100:8

Needs the extra `tpu` or `cuda13`, but no accelerator and no weights. Exit code 0 if every program fits, 1
if not, 2 for bad input.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the chips are described by their topology

import jax

from soar_jax.checkpoints import known_shapes
from soar_jax.cli import command
from soar_jax.errors import require
from soar_jax.planning.compile_check import Compiled, abstract_run, compile_all
from soar_jax.planning.target_devices import reported_memory, topology_devices
from soar_jax.runs.memory import memory_summary
from soar_jax.telemetry.devices import GPU, Device

CONFIG = command.define_config_flag()
TOPOLOGY = flags.DEFINE_string("topology", None, "TPU slice, e.g. v6e:4x4 or v5p:2x2x4, or GPUs, e.g. h100:8.")
MODEL_CONFIG = flags.DEFINE_string("model_config", "", "A config.json or its folder, instead of model.source.")
ONLY = flags.DEFINE_string("only", "", "Compile only programs whose names hold this.")
JOBS = flags.DEFINE_integer(
    "jobs", None, "Programs to compile side by side; default: one a core. Each takes up to a few GB.", lower_bound=1
)
JSON = flags.DEFINE_bool("json", False, "Print JSON lines, one a program; tables go to stderr.")

EXIT_DOES_NOT_FIT = 1
_TABLE_WIDTH = 150
_JAX_SHARE = 0.75  # of a GPU's memory, which JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise
_BYTES = ("arguments", "outputs", "temporaries", "code")


def main() -> None:
    """Compiles the programs and prints the tables."""
    topology = command.required(TOPOLOGY)
    config = command.run_config(CONFIG)
    jax.config.update("jax_enable_compilation_cache", False)  # programs for a TPU cannot be read back without one
    device, devices = topology_devices(topology)
    config = config.for_platform(device.platform)
    model = known_shapes.shape_of(config.model.source, config.model.dtype, MODEL_CONFIG.value)
    run = abstract_run(config, model, device, devices=devices)
    console = Console(highlight=False, soft_wrap=True, width=_TABLE_WIDTH, stderr=JSON.value)
    console.print(memory_summary(run.config, run.model, run.mesh))
    found = []
    for compiled in compile_all(run, device, only=ONLY.value, num_threads=JOBS.value or os.cpu_count() or 1):
        found.append(compiled)
        console.print(f"compiled {compiled.program.name} in {compiled.compile_s:.0f} s")
        if JSON.value:
            print(json.dumps(_values(compiled)), flush=True)
    found.sort(key=lambda compiled: compiled.place)
    require(bool(found), f"no program's name holds {ONLY.value!r}; leave out --only to see all names")
    console.print(_memory_table(found, device))
    console.print(_work_table(found))
    if device.platform == GPU:
        console.print(_gpu_notes(found, device))
    for compiled in found:
        if not compiled.fits:
            console.print(_complaint(compiled))
    sys.exit(0 if all(compiled.fits for compiled in found) else EXIT_DOES_NOT_FIT)


def _values(compiled: Compiled) -> dict[str, Any]:
    fields = {name: getattr(compiled, name) for name in (*_BYTES, "compile_s", "needed", "peak", "fits", "beside")}
    return fields | {
        "program": compiled.program.name,
        "capacity": compiled.capacity,
        "flops": compiled.program.flops,
        "collectives": {kind: {"count": n, "bytes": size} for kind, (n, size) in compiled.collectives.items()},
        "largest": compiled.largest[0],
        "advice": None if compiled.fits else compiled.advice,
    }


def _memory_table(found: list[Compiled], device: Device) -> Table:
    capacity = f"{device.memory_bytes / 2**30:.1f} GiB of {device.title}"
    table = Table(title=f"each device's memory in GiB, against {capacity}", title_justify="left")
    table.add_column("program")
    for name in (*_BYTES, "beside", "needed", "peak", "fits"):
        table.add_column(name, justify="right")
    for compiled in found:
        sizes = [
            *(getattr(compiled, name) for name in _BYTES),
            sum(compiled.beside.values()),
            compiled.needed,
            compiled.peak,
        ]
        cells = [f"{size / 2**30:.2f}" for size in sizes]
        table.add_row(compiled.program.name, *cells, "yes" if compiled.fits else "NO")
    return table


def _work_table(found: list[Compiled]) -> Table:
    table = Table(title="operations of one call on all devices, and collectives in its text", title_justify="left")
    table.add_column("program")
    table.add_column("FLOP", justify="right")
    table.add_column("collectives: instructions, GiB of results a device (those in loops counted once)")
    for compiled in found:
        kinds = [f"{kind} {n}, {size / 2**30:.3g}" for kind, (n, size) in compiled.collectives.items()]
        table.add_row(compiled.program.name, f"{compiled.program.flops:.3g}", "; ".join(kinds))
    return table


def _gpu_notes(found: list[Compiled], device: Device) -> str:
    lines = [
        "Compiled without a GPU and without autotuning. On a GPU, XLA times algorithms of matrix products, whose",
        "workspaces change temporaries, and attention by cuDNN takes a workspace, which counts 0 here.",
    ]
    reported = reported_memory(device)
    if max(compiled.needed for compiled in found) > _JAX_SHARE * reported:
        wanted = f"XLA_PYTHON_CLIENT_MEM_FRACTION={device.memory_bytes / reported:.2f}"
        lines.append(f"A run needs {wanted}: by default JAX takes {_JAX_SHARE:.0%} of a GPU's memory.")
    return "\n".join(lines)


def _complaint(compiled: Compiled) -> str:
    name, size = compiled.largest
    return (
        f"{compiled.program.name} does not fit: {compiled.needed / 2**30:.1f} GiB of {compiled.capacity / 2**30:.1f}; "
        f"the largest part is {name} with {size / 2**30:.1f} GiB. Try {compiled.advice}"
    )


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv)
