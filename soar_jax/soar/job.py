"""The whole job: hard subset, outer loop, final students and tests, and the files it leaves."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import resource
import shlex
import sys
import time
from typing import Any

import numpy as np

from soar_jax.checkpointing import Checkpoints
from soar_jax.evaluation import hard_subset
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.loading import params_sha256
from soar_jax.parallel import hosts
from soar_jax.planning.programs import held_text
from soar_jax.problems.loading import left_out, load_problems
from soar_jax.reporting import plots
from soar_jax.reporting.compilations import CompilationCounter
from soar_jax.reporting.display import Display, pass_table
from soar_jax.reporting.files import read_json, read_lines, remove, write_json
from soar_jax.reporting.interrupts import Interrupts
from soar_jax.reporting.run_files import RunFiles
from soar_jax.settings import check_final_students, require
from soar_jax.soar import asking, conclusion, hard_search, judging, ledger, teacher
from soar_jax.soar import setup as setups
from soar_jax.soar import workdir as workdirs
from soar_jax.soar.conclusion import Search
from soar_jax.soar.outer_step import outer_step
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import Progress, RunArrays, initial_arrays
from soar_jax.types import Problem

TESTS = {
    "hard_test": "hard test problems, solved within k samples (%)",
    "transfer": "transfer problems, solved within k samples (%)",
}


@dataclasses.dataclass
class _Run:
    """A run in progress: fixed parts, files, and the clock."""

    setup: Setup
    workdir: pathlib.Path
    files: RunFiles
    checkpoints: Checkpoints
    display: Display
    compilations: CompilationCounter
    started: float
    earlier_s: float  # wall time of earlier starts in this workdir, up to the saved step

    @property
    def wall_s(self) -> float:
        """Wall time of the run, earlier starts counted in."""
        return self.earlier_s + time.perf_counter() - self.started


def run(config: Any, workdir: pathlib.Path) -> dict[str, Any]:
    """Runs a config in a workdir to its summary, resuming what an earlier start has saved.

    Returns:
      The contents of `summary.json`.

    Raises:
      SettingsError: the config, the model or the workdir is not usable.
      NotFiniteError: training diverged.
      InterruptedRunError: a stop signal came; the same call resumes.
    """
    started = time.perf_counter()
    interrupts, compilations = Interrupts(), CompilationCounter()
    workdirs.check(workdir, config)
    check_final_students(config)
    setup = setups.build(config)
    judging.make_judge(setup, workdir)  # what it lacks is better found now than after the run
    candidates = asking.fitting_problems(
        setup, load_problems(config.problems, "problems", config.hard_subset.num_candidates)
    )
    transfer = tuple(
        asking.fitting_problems(setup, load_problems(config.transfer, "transfer", config.transfer.num_problems))
    )
    lock = workdirs.claim(workdir, config)
    display = Display(config.num_outer_steps, interrupts)
    display.say(held_text(config, setup.sampler.model, setup.mesh))
    checkpoints = Checkpoints(workdir / "checkpoints", **config.checkpoints)
    this = _Run(setup, workdir, RunFiles(workdir), checkpoints, display, compilations, started, 0.0)
    for name in ("problems", "transfer"):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out(config[name]).items())
        if reasons:
            display.say(f"{name}: rows left out of {config[name].path}: {reasons}")
    try:
        split = _hard_split(this, candidates)
        this.setup = teacher.centre_embeddings(setup)
        arrays, progress = _start(this)
        arrays, progress = _search(this, arrays, progress, split)
        path = workdir / "summary.json"
        if not path.exists():
            search = Search(this.setup, workdir, arrays, progress, split, transfer, display.phase)
            _conclude(this, search)
        summary = read_json(path)
        _show(this, summary)
    finally:
        checkpoints.close()
        this.files.close()
        display.close()
        lock.close()
    return summary


def _hard_split(this: _Run, problems: list[Problem]) -> HardSplit:
    """The target problems, counted by the base model once a workdir (paper: fail@128)."""
    config, setup = this.setup.config, this.setup
    section = config.hard_subset
    with this.display.phase("finding problems that the base model never solves"):
        counts = hard_search.count_correct(setup, problems, this.workdir, lambda *_: this.display.check())
    hard = [problem for problem, count in zip(problems, counts, strict=True) if count == 0]
    split = hard_subset.split_hard(hard, config.seed, section.validation_share)
    require(
        len(split.train) >= config.outer.num_reward_questions,
        f"outer.num_reward_questions is {config.outer.num_reward_questions}, but hard train has only "
        f"{len(split.train)} problems; lower it or raise hard_subset.num_candidates",
    )
    this.display.say(
        f"{len(hard)} of {len(problems)} problems were solved 0 times in {section.num_samples}: "
        f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test"
    )
    return split


def _start(this: _Run) -> tuple[RunArrays, Progress]:
    """The saved state where there is one (files cut back to it), else the initial one."""
    arrays, progress = initial_arrays(this.setup), Progress()
    found = this.checkpoints.restore_newest(arrays, this.display.say)
    if found is None:
        if this.setup.config.num_outer_steps:  # else nothing is ever saved
            _forget_conclusion(this.workdir)  # of checkpoints that somebody removed
    else:
        step, arrays, record = found
        progress = Progress.from_json(record["progress"])
        this.earlier_s = record["wall_s"]
        require(
            record["base_sha256"] == this.setup.base_sha256,
            f"model.source {this.setup.config.model.source!r} holds other weights than when this run began; "
            "bring them back or choose another --workdir",
        )
        this.display.resume(progress.outer_step)
        this.display.say(f"resuming after outer step {step}")
    this.files.open_at(progress.file_sizes, progress.outer_step)
    return arrays, progress


def _search(this: _Run, arrays: RunArrays, progress: Progress, split: HardSplit) -> tuple[RunArrays, Progress]:
    """The outer loop: one step, its files, its checkpoint; until all steps are done or the goal is reached."""
    this.display.seconds.clear()  # of what came before the first step
    while not progress.finished and progress.outer_step < this.setup.config.num_outer_steps:
        tokens_before, compiled_before = progress.num_sampled_tokens, this.compilations.count
        result = outer_step(this.setup, arrays, progress, split, this.display.phase)
        arrays, progress = result.arrays, result.progress
        seconds = dict(this.display.seconds)
        tokens_per_s = (progress.num_sampled_tokens - tokens_before) / sum(seconds.values())
        timings = {
            "outer_step": result.metrics["outer_step"],
            "step_s": sum(seconds.values()),
            "phase_s": seconds,
            "tokens_per_s": tokens_per_s,
            "compilations": this.compilations.count - compiled_before,
        }
        hosts.agree(f"outer step {progress.outer_step}", [result.metrics, result.ledger, progress.to_json()])
        sizes = this.files.write_step(result.metrics, result.ledger, timings, result.promoted)
        progress = dataclasses.replace(progress, file_sizes=sizes)
        record = {"progress": progress.to_json(), "wall_s": this.wall_s, "base_sha256": this.setup.base_sha256}
        this.checkpoints.save(progress.outer_step, arrays, record)
        # The next step gives the teacher's buffers away, so the copy must be complete first; orbax
        # has made it when `save` returns.
        this.display.step_done(result.metrics, tokens_per_s)
    this.checkpoints.wait()
    return arrays, progress


def _forget_conclusion(workdir: pathlib.Path) -> None:
    for path in (workdir / "summary.json", *sorted((workdir / "results").glob("*.json"))):
        remove(path)


def _conclude(this: _Run, search: Search) -> None:
    """Trains the final students, tests all policies, and writes the summary."""
    config, progress, arrays = this.setup.config, search.progress, search.arrays
    search_s = this.wall_s
    results = conclusion.conclude(search)
    judge = judging.make_judge(this.setup, this.workdir)
    num_unjudged = judging.judge_questions(this.setup, this.workdir, judge) if judge else 0
    final_steps = sum(result["trained_steps"] * result["num_replicas"] for result in results.values())
    summary = {
        "method": config.method,
        "scale": config.scale,
        "seed": config.seed,
        "command": shlex.join(["python", *sys.argv]),
        "policies": conclusion.tables(results, config.evaluation.pass_at),
        "hard_subset": {
            "num_candidates": config.hard_subset.num_candidates,
            "train": len(search.split.train),
            "validation": len(search.split.validation),
            "test": len(search.split.test),
        },
        "num_promotions": len(progress.promotions),
        "promotions": [dataclasses.asdict(promotion) for promotion in progress.promotions],
        "outer_steps": progress.outer_step,
        "idle_outer_steps": progress.num_idle_steps,
        "student_steps": search.promoted_steps,
        "total_student_steps": progress.num_student_steps + final_steps,
        "num_sampled_tokens": progress.num_sampled_tokens
        + sum(result["num_sampled_tokens"] for result in results.values()),
        "curriculum": ledger.analyse(search.setup, read_lines(search.workdir / "curriculum.jsonl")),
        "num_unjudged": num_unjudged,
        "test_questions_written": _count_test_questions(search),
        "search_s": search_s,
        "wall_s": this.wall_s,
        "peak_rss_gib": _peak_rss_gib(),
        "compilations": this.compilations.count,
        "compilations_s": this.compilations.seconds,
        "state_sha256": params_sha256({"teacher": arrays.teacher, "baseline": arrays.baseline, "best": arrays.best}),
        "config": config.to_dict(),
    }
    if progress.outer_step and hosts.is_main():
        plots.learning_curve(this.workdir)
    write_json(this.workdir / "summary.json", json.loads(json.dumps(summary, default=_plain)))


def _count_test_questions(search: Search) -> int:
    """How often a teacher happened to write a hard test problem, which it has never seen."""
    asked = (row["question"] for row in read_lines(search.workdir / "ledger.jsonl") if row["question"])
    return sum(map(search.split.test.holds, asked))


def _show(this: _Run, summary: dict[str, Any]) -> None:
    policies = summary["policies"]
    ks = summary["config"]["evaluation"]["pass_at"]
    this.display.close()
    for test, title in TESTS.items():
        this.display.say(pass_table(title, {name: row[test] for name, row in policies.items()}, ks))
    searched = (
        f"{summary['num_promotions']} promotions in {summary['outer_steps']} outer steps; the promoted student has "
        f"{summary['student_steps']} student steps behind it, the others "
        f"{summary['config']['final']['num_steps']}; "
    )
    this.display.say(
        f"{searched if 'promoted_student' in policies else ''}{summary['wall_s']:.0f} s, "
        f"{summary['peak_rss_gib']:.2f} GiB, {summary['compilations']} programs compiled\n"
        f"everything is in {this.workdir}"
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else list(value)


def _peak_rss_gib() -> float:
    units = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * units / 2**30
