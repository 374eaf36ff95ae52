"""Runs the paper's methods for several seeds and reports: `python experiments/reproduce.py --scale=nano --seeds=5`.

The same command resumes; finished runs are not run again.
"""

from __future__ import annotations

import functools
import os
import pathlib
import sys

from absl import flags

from soar_jax import report
from soar_jax.cli import command
from soar_jax.errors import require
from soar_jax.runs import mesh_fit
from soar_jax.storage import files
from soar_jax.studies import local, on_ray, scheduler, study

SCALE = flags.DEFINE_string(
    "scale", "nano", "SCALE or SCALE:BENCHMARK of all runs: model, problems, sizes (soar_jax/config/scales.py)."
)
SEEDS = flags.DEFINE_string("seeds", "5", "A number of seeds (5: 0 to 4), or seeds as in 0,3,7.")
METHODS = flags.DEFINE_list(
    "methods",
    list(study.PAPER_METHODS),
    "Names of methods. Those that start from a finished run take that of soar_math, of the same seed and --out.",
)
QUICK = flags.DEFINE_boolean(
    "quick",
    False,
    f"Run {', '.join(study.QUICK_METHODS)} on {study.QUICK_SEEDS} seeds, where --methods and --seeds are not given.",
)
OUT = flags.DEFINE_string("out", None, "Folder of all workdirs and the report; default: runs/reproduce-SCALE.")
SET = flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config value of all runs; may be repeated.")
SWEEP = flags.DEFINE_multi_string("sweep", [], "KEY=V1,V2: a run for each value; repeated, for each combination.")
WORKERS = flags.DEFINE_integer(
    "workers",
    1,
    "Runs at a time; on a CPU they share its cores. On accelerators each sees all of them: use Ray with --task_gpus.",
    lower_bound=1,
)
ENGINE = flags.DEFINE_enum("engine", "local", ["local", "ray"], "Worker processes here, or tasks on a Ray cluster.")
TASK_CPUS = flags.DEFINE_float("task_cpus", 1, "Processors that a Ray task asks for.", lower_bound=0)
TASK_GPUS = flags.DEFINE_float("task_gpus", 0, "Accelerators that a Ray task asks for, and sees.", lower_bound=0)


def _plan(out: pathlib.Path) -> list[study.Job]:
    """Plans all jobs. Several local workers share the CPU's cores equally, unless --set or --sweep sets mesh keys."""
    methods, seeds = _extent()
    make = functools.partial(study.plan, methods, SCALE.value, study.parse_seeds(seeds), out, sweep=SWEEP.value)
    jobs = make(SET.value)
    chosen = any(text.startswith("mesh.") for text in (*SET.value, *SWEEP.value))
    if WORKERS.value == 1 or ENGINE.value == "ray" or chosen:
        return jobs
    cores = (os.cpu_count() or 1) // WORKERS.value
    return make((*SET.value, f"mesh.cpu_devices={min(mesh_fit.most_devices(job.config, cores) for job in jobs)}"))


def _extent() -> tuple[list[str], str]:
    """The methods and seeds of the study."""
    methods = list(study.QUICK_METHODS) if QUICK.value and not METHODS.present else METHODS.value
    return methods, study.QUICK_SEEDS if QUICK.value and not SEEDS.present else SEEDS.value


def main() -> None:
    """Runs the unfinished jobs and writes the report; exit code 1 if a run failed."""
    require(bool(METHODS.value), "--methods names no method")
    out = files.to_local(OUT.value or f"runs/reproduce-{SCALE.value.replace(':', '-')}")
    jobs = _plan(out)
    engines: dict[str, scheduler.Engine] = {
        "local": functools.partial(local.run, workers=WORKERS.value),
        "ray": functools.partial(on_ray.run, workers=WORKERS.value, cpus=TASK_CPUS.value, gpus=TASK_GPUS.value),
    }
    with scheduler.lock_study(out):
        failed = scheduler.run_unfinished(jobs, engines[ENGINE.value], out)
        if len(failed) < len(jobs):
            report.write([out], out / "report.html")
            print(f"report: {out / 'report.html'}")
    for outcome in failed:
        print(f"error: {outcome.job.name} failed: {outcome.error}; see {outcome.job.log}", file=sys.stderr)
    if failed:
        sys.exit(1)


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv)
