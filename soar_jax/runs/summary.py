"""Writes `summary.json`, and shows the closing tables of a run."""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from soar_jax.checkpoints.base_model import params_sha256
from soar_jax.command_line import command_line
from soar_jax.config.run_config import RunConfig
from soar_jax.config.saved import as_json
from soar_jax.evaluation.hard_subset import SealedProblems
from soar_jax.evaluation.pass_at_k import summarize
from soar_jax.parallel import processes
from soar_jax.runs import judging, plots
from soar_jax.runs.context import RunContext
from soar_jax.runs.display import pass_table
from soar_jax.soar import ledger
from soar_jax.soar.final_students import promoted_steps
from soar_jax.soar.final_trainer import last_step
from soar_jax.soar.state import SearchResult
from soar_jax.storage.records import read_lines, write_json
from soar_jax.telemetry.meter import Work

TESTS = {
    "hard_test": "hard test problems, solved within k samples (%)",
    "transfer": "transfer problems, solved within k samples (%)",
}


def write_summary(
    context: RunContext,
    search: SearchResult,
    results: dict[str, dict[str, Any]],
    *,
    search_s: float,
    kept_s: float,
    written: Work,
) -> dict[str, Any]:
    """Judges the questions, writes `summary.json` and the learning curve, and returns the summary.

    Args:
      results: result of each policy.
      search_s: wall time up to the end of the outer loop.
      kept_s: wall time of results of earlier starts.
      written: work of writing the synthetic stages.
    """
    setup, workdir = context.setup, context.workdir
    arrays, progress = search.arrays, search.progress
    num_unjudged = _judge_questions(context)
    with context.phase("analysing the final students' questions"):
        curriculum = ledger.analyse_curriculum(setup, read_lines(workdir / "curriculum.jsonl"))
    summary = {
        **_identity(context, search),
        **_outcome(context, search, results),
        "num_sampled_tokens": progress.num_sampled_tokens
        + written.sampled_tokens
        + sum(result["num_sampled_tokens"] for result in results.values()),
        "num_flops": progress.num_flops
        + int(written.flops)
        + sum(result.get("num_flops", 0) for result in results.values()),  # absent in results of older versions
        "curriculum": curriculum,
        "num_unjudged": num_unjudged,
        "test_questions_written": count_test_questions(workdir, search.split.test, setup.config),
        "search_s": search_s,
        "wall_s": context.clock.wall_s + kept_s,
        **_resources(context),
        "state_sha256": params_sha256({"teacher": arrays.teacher, "baseline": arrays.baseline, "best": arrays.best}),
        "config": as_json(setup.config.to_dict()),
    }
    if progress.outer_step and processes.is_main():
        plots.learning_curve(workdir, setup.config)
    summary = json.loads(json.dumps(summary, default=_plain))
    write_json(workdir / "summary.json", summary)
    return summary


def _identity(context: RunContext, search: SearchResult) -> dict[str, Any]:
    config, split = context.setup.config, search.split
    return {
        "method": config.method,
        "scale": config.scale,
        "seed": config.seed,
        "command": command_line(),
        "hard_subset": {
            "num_candidates": len(context.candidates),
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
    }


def _outcome(context: RunContext, search: SearchResult, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    setup, progress = context.setup, search.progress
    final_steps = sum(result["trained_steps"] * result["num_replicas"] for result in results.values())
    return {
        "policies": tables(results, setup.config.evaluation.pass_at),
        "num_promotions": len(progress.promotions),
        "promotions": [dataclasses.asdict(promotion) for promotion in progress.promotions],
        "outer_steps": progress.outer_step,
        "idle_outer_steps": progress.num_idle_steps,
        "student_steps": promoted_steps(setup, search),
        "total_student_steps": progress.num_student_steps + final_steps,
    }


def tables(results: dict[str, dict[str, Any]], ks: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Computes pass@k of every policy on every test, averaged over problems, replicas and reported tests."""
    return {
        name: {key: result[key] for key in ("student_steps", "num_replicas")}
        | {"tested_at": result.get("tested_at", [result["student_steps"]])}  # absent in results of older versions
        | {
            test: summarize(np.array(values["num_correct"]), values["num_samples"], ks)
            | {"num_problems": len(values["ids"])}
            for test, values in result["tests"].items()
        }
        for name, result in results.items()
    }


def _judge_questions(context: RunContext) -> int:
    """Judges the questions, and shows if the teacher wrote too few; returns the number that the judge failed on."""
    setup, workdir = context.setup, context.workdir
    judge = judging.make_judge(setup, workdir)
    with context.phase("judging questions"):
        num_unjudged = judging.judge_questions(setup, workdir, judge) if judge else 0
    curriculum, num_written = setup.config.curriculum, len(read_lines(workdir / "curriculum.jsonl"))
    if setup.config.registered_curriculum.asks_teacher and num_written < curriculum.num_questions:
        context.display.say(
            f"of the {curriculum.num_questions} questions asked of the teacher only {num_written} could be parsed"
        )
    return num_unjudged


def count_test_questions(workdir: epath.Path, test: SealedProblems, config: RunConfig) -> int:
    """Counts written questions that are hard test problems, which no teacher sees.

    In self-play, counts the questions that the first replica kept.
    """
    names = ["ledger.jsonl"]
    # The ledger has a run's own promotion questions.
    if not config.registered_curriculum.needs_promotions or config.source_run:
        names.append("curriculum.jsonl")
    written = (row["question"] for name in names for row in read_lines(workdir / name) if row["question"])
    return sum(map(test.contains, written))


def show_summary(context: RunContext, summary: dict[str, Any]) -> None:
    """Sends the summary to the trackers, and prints the tables of pass@k and the closing lines."""
    context.tracking.log_summary(summary)
    policies, display, config = summary["policies"], context.display, context.setup.config
    ks = config.evaluation.pass_at
    display.close()
    for test, title in TESTS.items():
        rows = {name: row[test] for name, row in policies.items() if test in row}
        if rows:
            display.say(pass_table(title, rows, ks))
    others = f", the others {last_step(config)}" if config.final.students else ""
    where = config.source_run or f"{summary['outer_steps']} outer steps"
    searched = (
        f"{summary['num_promotions']} promotions in {where}; the promoted student has "
        f"{summary['student_steps']} student steps behind it{others}; "
    )
    display.say(
        f"{searched if 'promoted_student' in policies else ''}{summary['wall_s']:.0f} s, "
        f"{summary['peak_rss_gib']:.2f} GiB, {summary['compilations']} programs compiled\n"
        f"time of this start: {display.times(context.clock.start_s)}\n"
        f"everything is in {context.workdir}"
    )


def _plain(value: Any) -> Any:
    """Converts NumPy scalars, and sequences, for JSON."""
    return value.item() if isinstance(value, np.generic) else list(value)


def _resources(context: RunContext) -> dict[str, Any]:
    units = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    mesh = context.setup.mesh
    return {
        "num_devices": mesh.size,
        "device_kind": mesh.devices.flat[0].device_kind,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * units / 2**30,
        "compilations": context.compilations.count,
        "compilations_s": context.compilations.seconds,
        "programs": context.compilations.programs,
    }
