"""Runs the unfinished jobs of a study and prints their progress."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

from etils import epath

from soar_jax.storage import files
from soar_jax.storage.records import read_json
from soar_jax.studies.child_process import JobResult
from soar_jax.studies.study import Job

Engine = Callable[[Sequence[Job], dict[str, str]], Iterator[JobResult]]
SHOWN = ("promoted_student", "trained_teacher", "curriculum", "hard_only", "self_play")  # policies in progress lines


def lock_study(out: pathlib.Path) -> IO[str]:
    """Locks a study's folder for this process, until the returned file is closed or the process ends.

    Raises:
      SettingsError: the folder cannot be written, or another process has locked it.
    """
    with files.lock_errors(str(out), "--out"):
        out.mkdir(parents=True, exist_ok=True)
        return files.lock(epath.Path(out / ".lock"))


def run_unfinished(jobs: Sequence[Job], engine: Engine, out: pathlib.Path) -> list[JobResult]:
    """Runs the unfinished jobs, which share a compilation cache in `out`; prints a line as each job ends.

    Returns:
      The outcomes of failed jobs.
    """
    left = [job for job in jobs if not job.is_finished]
    print(f"{len(jobs)} runs, {len(jobs) - len(left)} finished before", flush=True)
    failed, started = [], time.perf_counter()
    for number, outcome in enumerate(engine(left, _environment(out)), start=1):
        if outcome.code:
            failed.append(outcome)
        minutes = (time.perf_counter() - started) / number * (len(left) - number) / 60
        count = f"[{len(jobs) - len(left) + number}/{len(jobs)}]"
        print(f"{count} {_line(outcome)}; about {minutes:.0f} min left", flush=True)
    return failed


def _environment(out: pathlib.Path) -> dict[str, str]:
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str((out / ".compilation_cache").resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return cache | dict(os.environ)


def _line(outcome: JobResult) -> str:
    head = f"{outcome.job.name}, {outcome.seconds:.0f} s"
    if outcome.code:
        return f"{head}: FAILED ({outcome.error}); see {outcome.job.log}"
    policies = read_json(outcome.job.workdir / "summary.json")["policies"]
    ks = outcome.job.config.evaluation.pass_at
    scores = [f"{name} {_percents(policies[name]['hard_test'], ks)}" for name in SHOWN if name in policies]
    return f"{head}: pass@{ks[0]} / pass@{ks[-1]} (%) {', '.join(scores)}"


def _percents(row: Mapping[str, float], ks: Sequence[int]) -> str:
    return " / ".join(f"{100 * row[f'pass@{k}']:.1f}" for k in (ks[0], ks[-1]))
