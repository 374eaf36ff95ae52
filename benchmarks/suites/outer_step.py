"""Measures the phases of an outer step of the shipped config, from the `timings.jsonl` of a run."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks import interleave
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax.errors import require

READS = ("cores",)
ROOT = pathlib.Path(__file__).parent.parent.parent
# The work after the outer steps is not measured, so it is made short.
SHORT = {
    "final.students": "('hard_only',)",
    "final.num_steps": 10,
    "curriculum.warm_start_steps": 5,
    "final.num_replicas": 2,
    "evaluation.num_samples": 32,
    "transfer.num_problems": 8,
    "outer.stop_at_validation": 1.1,  # never
}


def measure(options: Options) -> Iterator[Section]:
    """Yields a table with a row per phase, without the first outer step, which compiles."""
    with tempfile.TemporaryDirectory() as folder:
        yield table(_run(pathlib.Path(folder) / "run", options)[1:])


def table(steps: list[dict[str, Any]]) -> Section:
    """Makes the table from rows of `timings.jsonl` (see telemetry/timings.py)."""
    names = list(dict.fromkeys(name for step in steps for name in step["phases"]))
    phases = {name: [step["phases"].get(name, {"s": 0.0}) for step in steps] for name in names}
    total_s = sum(step["step_s"] for step in steps)
    rows = [
        {
            "phase": name,
            "s": interleave.median([each["s"] for each in found]),
            "share, %": 100 * sum(each["s"] for each in found) / total_s,
            "devices idle, %": 100 * interleave.median([each.get("device_idle_share", 1.0) for each in found]),
        }
        for name, found in phases.items()
    ]
    total, rate, idle = (
        interleave.median([step[key] for step in steps]) for key in ("step_s", "tokens_per_s", "device_idle_share")
    )
    return Section(
        title=f"nano: an outer step of {total:.1f} s, {rate:,.0f} sampled tokens/s of it, "
        f"devices idle {idle:.1%} of it",
        rows=sorted(rows, key=lambda row: -row["s"]),
        note=f"Medians, and shares of the total time, of outer steps 2 to {len(steps) + 1}.",
    )


def _run(workdir: pathlib.Path, options: Options) -> list[dict[str, Any]]:
    values = SHORT | {"num_outer_steps": options.rounds + 1, "mesh.cpu_devices": options.cores}
    command = [sys.executable, "experiments/run.py", "--config=configs/soar_math.py", f"--workdir={workdir}"]
    command += [f"--config.{key}={value}" for key, value in values.items()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    require(done.returncode == 0, f"the run failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return [json.loads(line) for line in (workdir / "timings.jsonl").read_text().splitlines()]
