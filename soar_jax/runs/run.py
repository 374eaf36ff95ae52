"""The whole job: hard subset, outer loop, final students and tests, and the files it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
from etils import epath

from soar_jax.storage.run_checkpoints import Checkpoints
from soar_jax.evaluation import hard_subset
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.checkpoints.base_model import params_sha256
from soar_jax.parallel import processes
from soar_jax.telemetry import timings
from soar_jax.telemetry.devices import Peaks, peaks
from soar_jax.planning.programs import held_text
from soar_jax.problems.sources import all_problems, left_out, load_problems
from soar_jax.runs import plots
from soar_jax.storage import files
from soar_jax.telemetry.compilations import CompilationCounter, longest_text
from soar_jax.runs.display import Display, pass_table
from soar_jax.storage.records import read_json, read_lines, remove, write_json
from soar_jax.runs.interrupts import InterruptedRunError, Interrupts
from soar_jax.runs.run_files import RunFiles
from soar_jax.settings import check, check_run, promotes, require, with_dtype
from soar_jax.runs import final_evaluation, judging, tasks
from soar_jax.evaluation import hard_search
from soar_jax.soar import curricula, ledger, teacher
from soar_jax.runs import build as setups
from soar_jax.runs import workdir as workdirs
from soar_jax.runs.final_evaluation import Search
from soar_jax.soar.outer_step import outer_step
from soar_jax.runs.build import Setup
from soar_jax.soar.state import Progress, RunArrays, initial_arrays
from soar_jax.soar.inner_loop import NotFiniteError
from soar_jax.types import Problem, normalize_question

TESTS = {
    "hard_test": "hard test problems, solved within k samples (%)",
    "transfer": "transfer problems, solved within k samples (%)",
}

# How a run may end in all processes together.
_OF_ALL = (type(None), InterruptedRunError, NotFiniteError, processes.DisagreementError)


@dataclasses.dataclass(kw_only=True)
class _Run:
    """A run in progress: fixed parts, files, and the clock."""

    setup: Setup
    workdir: epath.Path
    files: RunFiles
    checkpoints: Checkpoints
    display: Display
    peaks: Peaks
    compilations: CompilationCounter
    started: float
    earlier_s: float = 0.0  # wall time of earlier starts in this workdir, up to the saved step
    num_told: int = 0  # programs whose compilation has been shown

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Runs a phase: shown and timed, and what the devices do in it is its work."""
        with self.display.phase(name), self.setup.sampler.meter.phase(name):
            yield

    def say_compiled(self) -> None:
        """Names the programs that took long to compile since this was last asked."""
        programs = self.compilations.programs
        slow, self.num_told = longest_text(programs[self.num_told :]), len(programs)
        if slow:
            self.display.say(f"compiled: {slow}")

    @property
    def wall_s(self) -> float:
        """Wall time of the run, earlier starts counted in."""
        return self.earlier_s + time.perf_counter() - self.started


def run(config: Any, workdir: epath.Path, profiled: bool = False) -> dict[str, Any]:
    """Runs a config in a workdir to its summary, resuming what an earlier start has saved.

    Args:
      profiled: a trace of one outer step is written to `profile/` in the workdir.

    Returns:
      The contents of `summary.json`.

    Raises:
      SettingsError: the config, the model or the workdir is not usable.
      NotFiniteError: training diverged.
      InterruptedRunError: a stop signal came; the same call resumes.
    """
    started = time.perf_counter()
    require(not profiled or config.num_outer_steps > 0, "--profile traces an outer step, and num_outer_steps is 0")
    interrupts, compilations = Interrupts(), CompilationCounter()
    config = with_dtype(config, jax.devices()[0].platform)
    changed = workdirs.check(workdir, config)
    check(config)
    processes.assert_equal("the config", config.to_dict())  # also on what decides which programs are compiled
    check_run(config)
    curricula.check_curated(config)
    problems = load_problems(config.problems, "problems", config.hard_subset.num_candidates)
    others = load_problems(config.transfer, "transfer", config.transfer.num_problems)
    setup = setups.build(config)
    judging.make_judge(setup, workdir)  # what it lacks is better found now than after the run
    candidates = tasks.fitting_problems(setup, problems)
    transfer, num_shared = _transfer(setup, others, candidates)
    processes.assert_equal("model and problems", [setup.base_sha256, _ids(candidates, transfer)])
    lock = workdirs.claim(workdir, config)
    display = Display(config.num_outer_steps, interrupts)
    display.say(held_text(config, setup.sampler.model, setup.mesh))
    checkpoints = Checkpoints(workdir / "checkpoints", **config.checkpoints)
    reachable = peaks(setup.mesh, setup.sampler.model.dtype)
    this = _Run(setup=setup, workdir=workdir, files=RunFiles(workdir), checkpoints=checkpoints, display=display, peaks=reachable, compilations=compilations, started=started)
    if changed:
        display.say(f"going on with another {', '.join(changed)}")
    for name in ("problems", "transfer"):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out(config[name]).items())
        if reasons:
            display.say(f"{name}: rows left out of {config[name].path}: {reasons}")
    if len(candidates) < len(problems):
        display.say(f"problems: {len(problems) - len(candidates)} left out, {tasks.why_unfit(setup)}")
    if num_shared:
        display.say(f"transfer: {num_shared} left out, since they are among the problems that are trained on")
    try:
        split = _hard_split(this, candidates)
        this.say_compiled()
        this.setup = teacher.centre_embeddings(setup)
        arrays, progress = _start(this)
        if profiled and (progress.finished or progress.outer_step == config.num_outer_steps):
            display.say("--profile: no outer step is left to trace; profile a run in another --workdir")
        arrays, progress = _search(this, arrays, progress=progress, split=split, profiled=profiled)
        path = workdir / "summary.json"
        if not path.exists():
            search = Search(setup=this.setup, workdir=workdir, arrays=arrays, progress=progress, split=split, transfer=transfer, phase=this.phase)
            summary = _conclude(this, search, len(candidates))
        else:
            summary = read_json(path)
        _show(this, summary)
    finally:
        if not processes.is_distributed() or isinstance(sys.exception(), _OF_ALL):
            checkpoints.close()  # waits for the other processes' parts, which after an error of this one never come
        this.files.close()
        display.close()
        lock.close()
    return summary


def _ids(*parts: Sequence[Problem]) -> list[list[str]]:
    return [[problem.id for problem in part] for part in parts]


def _transfer(setup: Setup, others: list[Problem], candidates: list[Problem]) -> tuple[tuple[Problem, ...], int]:
    """Those of `others` that are asked for transfer, and how many were left out since they are among the problems.

    Raises:
      SettingsError: none is left.
    """
    found = tasks.fitting_problems(setup, others)
    asked = {normalize_question(problem.question) for problem in (*candidates, *all_problems(setup.config.problems))}
    kept = tuple(problem for problem in found if normalize_question(problem.question) not in asked)
    require(bool(kept), "all transfer problems are among the problems, which are trained on; choose another transfer")
    return kept, len(found) - len(kept)


def _hard_split(this: _Run, problems: list[Problem]) -> HardSplit:
    """The target problems, counted by the base model once a workdir (paper: fail@128)."""
    config, setup = this.setup.config, this.setup
    section = config.hard_subset
    with this.phase("finding problems that the base model never solves"):
        is_begun = workdirs.has_begun(this.workdir)
        counts = hard_search.count_correct(setup, problems, folder=this.workdir, report=lambda *_: this.display.check(), is_begun=is_begun)
    processes.assert_equal("the hard problems", counts.tolist())
    hard = [problem for problem, count in zip(problems, counts, strict=True) if count == 0]
    split = hard_subset.split_hard(hard, config.seed, section.validation_share)
    require(
        not promotes(config) or len(split.train) >= config.outer.num_reward_questions,
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
        this.display.resume(progress.outer_step)
        this.display.say(f"resuming after outer step {step}")
    this.files.open_at(progress.file_sizes, progress.outer_step, progress.promoted_datasets)
    return arrays, progress


def _search(
    this: _Run, arrays: RunArrays, progress: Progress, split: HardSplit, profiled: bool
) -> tuple[RunArrays, Progress]:
    """The outer loop: one step, its files, its checkpoint; until all steps are done or the goal is reached."""
    meter, num_steps = this.setup.sampler.meter, this.setup.config.num_outer_steps
    this.display.seconds.clear()  # of what came before the first step
    meter.take()
    began = time.perf_counter()
    traced = min(progress.outer_step + 1, num_steps - 1) if profiled else None  # a step that compiles nothing, if any
    while not progress.finished and progress.outer_step < num_steps:
        compiled_before = this.compilations.count
        trace = jax.profiler.trace(this.workdir / "profile") if progress.outer_step == traced else nullcontext()
        with trace:
            result = outer_step(this.setup, arrays, progress=progress, split=split, phase=this.phase)
        arrays, progress = result.arrays, result.progress
        work, now = meter.take(), time.perf_counter()
        timings = timings.step_timings(now - began, this.display.seconds, work=work, peaks=this.peaks)
        began = now  # what is written and saved from here on is part of the next step
        timings |= {
            "outer_step": result.metrics["outer_step"],
            "compilations": this.compilations.count - compiled_before,
        }
        this.say_compiled()
        processes.assert_equal(f"outer step {progress.outer_step}", [result.metrics, result.ledger, progress.to_json()])
        sizes = this.files.write_step(result.metrics, result.ledger, timings=timings, promoted=progress.promoted_datasets)
        progress = dataclasses.replace(progress, file_sizes=sizes)
        record = {"progress": progress.to_json(), "wall_s": this.wall_s, "base_sha256": this.setup.base_sha256}
        this.checkpoints.save(progress.outer_step, arrays, record)
        # The next step gives the teacher's buffers away, so the copy must be complete first; orbax
        # has made it when `save` returns.
        this.display.step_done(result.metrics, timings["tokens_per_s"])
    this.checkpoints.wait()
    return arrays, progress


def _forget_conclusion(workdir: epath.Path) -> None:
    results = [workdir / "results" / name for name in files.names(workdir / "results")]
    for path in (workdir / "summary.json", *results):
        remove(path)


def _conclude(this: _Run, search: Search, num_candidates: int) -> dict[str, Any]:
    """Trains the final students, tests all policies, and writes the summary, which it returns."""
    config, progress, arrays = this.setup.config, search.progress, search.arrays
    search_s, kept_s = this.wall_s, final_evaluation.kept_s(this.workdir)
    results, num_tokens_written = final_evaluation.conclude(search)
    this.say_compiled()
    judge = judging.make_judge(this.setup, this.workdir)
    num_unjudged = judging.judge_questions(this.setup, this.workdir, judge) if judge else 0
    num_asked, num_written = config.curriculum.num_questions, len(read_lines(this.workdir / "curriculum.jsonl"))
    if config.curriculum.source == "teacher" and num_written < num_asked:
        this.display.say(f"of the {num_asked} questions asked of the teacher only {num_written} could be parsed")
    final_steps = sum(result["trained_steps"] * result["num_replicas"] for result in results.values())
    summary = {
        "method": config.method,
        "scale": config.scale,
        "seed": config.seed,
        "command": shlex.join(["python", *sys.argv]),
        "policies": final_evaluation.tables(results, config.evaluation.pass_at),
        "hard_subset": {
            "num_candidates": num_candidates,
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
        + num_tokens_written
        + sum(result["num_sampled_tokens"] for result in results.values()),
        "curriculum": ledger.analyse(search.setup, read_lines(search.workdir / "curriculum.jsonl")),
        "num_unjudged": num_unjudged,
        "test_questions_written": _count_test_questions(search),
        "search_s": search_s,
        "wall_s": this.wall_s + kept_s,
        "peak_rss_gib": _peak_rss_gib(),
        "compilations": this.compilations.count,
        "compilations_s": this.compilations.seconds,
        "programs": this.compilations.programs,
        "state_sha256": params_sha256({"teacher": arrays.teacher, "baseline": arrays.baseline, "best": arrays.best}),
        "config": config.to_dict(),
    }
    if progress.outer_step and processes.is_main():
        plots.learning_curve(this.workdir, promotes(config))
    summary = json.loads(json.dumps(summary, default=_plain))
    write_json(this.workdir / "summary.json", summary)
    return summary


def _count_test_questions(search: Search) -> int:
    """How often somebody happened to write a hard test problem, which nobody has seen.

    That is a teacher, or in self-play the first replica, among the questions that it kept.
    """
    names = ["ledger.jsonl"]
    if search.setup.config.curriculum.source != "promotions":  # those are in the ledger
        names.append("curriculum.jsonl")
    asked = (row["question"] for name in names for row in read_lines(search.workdir / name) if row["question"])
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
