"""Measures the time to a run's first outer step, by phase, without and with compiled programs on disk."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks import interleave
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax.errors import require

READS = ("cores",)
ROOT = pathlib.Path(__file__).parent.parent.parent
# Phases, each with a part of the line that a run prints at its end.
PHASES = {
    "imports and model": "mesh:",
    "finding hard problems": "were solved 0 times",
    "first outer step": "reward mean",
}


def measure(options: Options) -> Iterator[Section]:
    """Yields a row for a cold and a warm compilation cache, and a table of the compiled programs."""
    found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    programs: list[list[Any]] = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for cache, rounds in found.items():
                workdir = pathlib.Path(folder) / cache
                rounds.append(_start(workdir, pathlib.Path(folder) / "programs", options))
                programs = programs or json.loads((workdir / "summary.json").read_text())["programs"]
    yield Section(
        title="nano: s from the command to the end of the first outer step",
        rows=[_row(cache, rounds) for cache, rounds in found.items()],
        note=f"Medians of {options.rounds} starts. Warm: the programs of the cold start are on disk.",
    )
    yield Section(
        title="nano: compile time of each program of a run of one outer step, in threads",
        rows=[{"program": name, "s": seconds} for name, seconds in programs],
    )


def _row(cache: str, rounds: list[dict[str, float]]) -> dict[str, Any]:
    phases = {name: interleave.median([each[name] for each in rounds]) for name in PHASES}
    return {"compile cache": cache, **phases, "in all": interleave.median([sum(each.values()) for each in rounds])}


def _start(workdir: pathlib.Path, cache: pathlib.Path, options: Options) -> dict[str, float]:
    """Runs one outer step, and returns the seconds of each phase.

    Raises:
      SettingsError: the run fails.
    """
    values = {"num_outer_steps": 1, "mesh.cpu_devices": options.cores, "final.students": "()"}
    command = [sys.executable, "experiments/run.py", "--config=configs/soar_math.py", f"--workdir={workdir}"]
    command += [f"--config.{key}={value}" for key, value in values.items()]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None
        found = phase_seconds(run.stdout, time.perf_counter)
    require(run.returncode == 0 and len(found) == len(PHASES), f"the run failed; try it: {' '.join(command)}")
    return found


def phase_seconds(lines: Iterable[str], clock: Callable[[], float]) -> dict[str, float]:
    """Seconds from one phase's last line to the next one's, as the lines arrive; phases without a line are left out."""
    found: dict[str, float] = {}
    last = clock()
    for line in lines:
        for phase, part in PHASES.items():
            if part in line and phase not in found:
                now = clock()
                found[phase], last = now - last, now
    return found
