"""Compiles every program of a run for a TPU slice that is not here: does it fit, and what does it exchange?

    python experiments/compile_check.py --config=configs/soar_math.py:llama3.2-3b --topology=v6e:4x4

Needs the extra `tpu`, no TPU and no weights. Exit code 0 only where every program fits; 2 for bad input.
"""

import json
import os
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.console import Console
from rich.table import Table

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the slice is described, not looked for

import jax

from soar_jax import settings
from soar_jax.checkpoints import known_shapes
from soar_jax.cli import command
from soar_jax.planning.compile_check import Compiled, compile_all, run_shapes, topology_devices
from soar_jax.planning.programs import held_text
from soar_jax.telemetry.devices import Device

CONFIG = config_flags.DEFINE_config_file("config", None, "Method config file, e.g. configs/soar_math.py:llama3.2-3b.")
TOPOLOGY = flags.DEFINE_string("topology", None, "TPU slice, e.g. v6e:4x4, v5e:4x8 or v5p:2x2x4.")
MODEL_CONFIG = flags.DEFINE_string("model_config", "", "A config.json or its folder, instead of model.source.")
ONLY = flags.DEFINE_string("only", "", "Compile only programs whose names hold this.")
JSON = flags.DEFINE_bool("json", False, "Print JSON lines, one a program; tables go to stderr.")

EXIT_DOES_NOT_FIT = 1
_TABLE_WIDTH = 150
_BYTES = ("arguments", "outputs", "temporaries", "code")


def main() -> None:
    """Compiles and prints."""
    command.require_flag(TOPOLOGY)
    config = command.frozen_config(CONFIG, ("method", "scale", "outer", "inner", "mesh"))
    settings.check(config)
    config = settings.with_dtype(config, "tpu")
    jax.config.update("jax_enable_compilation_cache", False)  # where there is no TPU, its programs cannot be read back
    device, devices = topology_devices(TOPOLOGY.value)
    model = known_shapes.shape_of(config.model.source, config.model.dtype, MODEL_CONFIG.value)
    shapes = run_shapes(config, model, devices)
    console = Console(highlight=False, soft_wrap=True, width=_TABLE_WIDTH, stderr=JSON.value)
    console.print(held_text(config, model, shapes.mesh))
    found = []
    for compiled in compile_all(shapes, device, ONLY.value):
        found.append(compiled)
        console.print(f"compiled {compiled.program.name} in {compiled.compile_s:.0f} s")
        if JSON.value:
            print(json.dumps(_values(compiled)), flush=True)
    settings.require(bool(found), f"no program's name holds {ONLY.value!r}; leave out --only to see all names")
    console.print(_memory_table(found, device))
    console.print(_work_table(found))
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


def _complaint(compiled: Compiled) -> str:
    name, size = compiled.largest
    return (
        f"{compiled.program.name} does not fit: {compiled.needed / 2**30:.1f} GiB of {compiled.capacity / 2**30:.1f}; "
        f"the largest part is {name} with {size / 2**30:.1f} GiB. Try {compiled.advice}"
    )


if __name__ == "__main__":
    command.start(main)
