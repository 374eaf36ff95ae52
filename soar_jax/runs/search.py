"""The outer loop: makes outer steps, and writes and saves each."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

import jax

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.parallel import processes
from soar_jax.runs.context import RunContext
from soar_jax.soar.outer_step import outer_step
from soar_jax.soar.state import Progress, RunArrays, SearchResult
from soar_jax.telemetry.timings import step_timings

_MIN_CHANGED_SHARE = 1e-3  # of the weights; ten Adam steps of 1e-6 change several percent of bfloat16 weights


def search(
    context: RunContext, arrays: RunArrays, progress: Progress, *, split: HardSplit, profiled: bool
) -> SearchResult:
    """Makes outer steps until all are done or the goal is reached.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    setup, num_steps = context.setup, context.setup.config.num_outer_steps
    if profiled and (progress.finished or progress.outer_step == num_steps):
        context.display.say("--profile: no outer step is left to trace; profile a run in another --workdir")
    traced = min(progress.outer_step + 1, num_steps - 1) if profiled else None  # the second step compiles little
    context.display.begin_search(progress.outer_step)
    setup.meter.take()
    began = time.perf_counter()
    while not progress.finished and progress.outer_step < num_steps:
        compiled_before = context.compilations.count
        is_traced = progress.outer_step == traced
        with jax.profiler.trace(context.workdir / "profile") if is_traced else contextlib.nullcontext():
            result = outer_step(setup, arrays, progress, split=split, phase=context.phase)
        arrays, progress = result.arrays, result.progress
        work, now = setup.meter.take(), time.perf_counter()
        timings = step_timings(now - began, context.display.seconds, work=work, peaks=context.peaks)
        began = now  # writing and saving count as part of the next step
        timings |= {
            "outer_step": result.metrics["outer_step"],
            "compilations": context.compilations.count - compiled_before,
        }
        context.say_compiled()
        processes.assert_equal(f"outer step {progress.outer_step}", [result.metrics, result.ledger, progress.to_json()])
        sizes = context.files.write_step(result, timings)
        context.tracking.log_step(result.metrics, timings)
        progress = dataclasses.replace(progress, file_sizes=sizes)
        _save(context, arrays, progress)
        context.display.step_done(result.metrics, timings["tokens_per_s"])
        _warn_of_lost_steps(context, result.metrics)
    context.display.end_search()
    context.checkpoints.wait()
    return SearchResult(arrays=arrays, progress=progress, split=split)


def _warn_of_lost_steps(context: RunContext, metrics: dict[str, Any]) -> None:
    """Warns if training had a signal, and changed next to none of the weights that the students compute with.

    Does not happen to adapters, half of which start at zero, where every step counts.
    """
    share = metrics.get("inner_changed_share")
    if share is not None and share < _MIN_CHANGED_SHARE:
        config, dtype = context.setup.config, context.setup.sampler.model.dtype
        context.display.say(
            f"warning: the inner loop changed {share:.4%} of the students' {dtype} weights. Raise "
            f"student.learning_rate, which is {config.student.learning_rate:g}, or lower student.adam_eps"
        )


def _save(context: RunContext, arrays: RunArrays, progress: Progress) -> None:
    """Starts a save, which copies the arrays before it returns: the next step donates the teacher's buffers."""
    record = {
        "progress": progress.to_json(),
        "wall_s": context.clock.wall_s,
        "base_sha256": context.setup.base_sha256,
    }
    context.checkpoints.save(progress.outer_step, arrays, record)
