"""The whole job: hard subset, search, Hard-Only, final evaluation, and the files it leaves."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import resource
import sys
import time
from typing import Any

import numpy as np

from soar_jax.checkpointing import Checkpoints
from soar_jax.evaluation import hard_subset
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.evaluation.pass_at_k import pass_at_k, summarize
from soar_jax.model.loading import params_sha256
from soar_jax.model.parameters import Params
from soar_jax.problems.loading import load_candidates
from soar_jax.reporting import plots
from soar_jax.reporting.compilations import CompilationCounter
from soar_jax.reporting.display import Display, pass_table
from soar_jax.reporting.files import read_json, write_json
from soar_jax.reporting.interrupts import Interrupts
from soar_jax.reporting.run_files import RunFiles
from soar_jax.rng import stream_key
from soar_jax.settings import require
from soar_jax.soar import setup as setups
from soar_jax.soar import workdir as workdirs
from soar_jax.soar.hard_only import train_hard_only
from soar_jax.soar.outer_step import outer_step
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import Progress, RunArrays, initial_arrays
from soar_jax.types import Problem


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
    setup = setups.build(config)
    candidates = load_candidates(config.problems, config.hard_subset.num_candidates)
    lock = workdirs.claim(workdir, config)
    display = Display(config.num_outer_steps, interrupts)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoints.keep)
    this = _Run(setup, workdir, RunFiles(workdir), checkpoints, display, compilations, started, 0.0)
    try:
        split = _hard_split(this, candidates)
        arrays, progress = _start(this)
        arrays, progress = _search(this, arrays, progress, split)
        path = workdir / "summary.json"
        if not path.exists():
            _conclude(this, arrays, progress, split)
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
    settings = setup.evaluation_sampling(section.temperature, section.top_p)
    key = hard_subset.cache_key(
        params_sha256(setup.base.params),
        setup.base.config,
        problems,
        config.prompts.to_dict(),
        config.grading.to_dict(),
        settings,
        section.num_samples,
        config.seed,
    )
    path = this.workdir / "hard_subset.jsonl"
    counts = hard_subset.read_counts(path, key)
    if counts is None:
        with this.display.phase("finding problems that the base model never solves"):
            draw = stream_key(config.seed, "hard_subset")
            counts = setup.examiner.count_correct(setup.base.params, problems, draw, settings, section.num_samples)
        hard_subset.write_counts(path, key, problems, counts, section.num_samples)
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
    step = this.checkpoints.latest_step()
    if step is None:
        (this.workdir / "summary.json").unlink(missing_ok=True)  # of checkpoints that somebody removed
    else:
        arrays, record = this.checkpoints.restore(step, arrays)
        progress = Progress.from_json(record["progress"])
        this.earlier_s = record["wall_s"]
        require(
            record["base_sha256"] == params_sha256(this.setup.base.params),
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
    base_sha256 = params_sha256(this.setup.base.params)
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
        sizes = this.files.write_step(result.metrics, result.ledger, timings, result.promoted)
        progress = dataclasses.replace(progress, file_sizes=sizes)
        record = {"progress": progress.to_json(), "wall_s": this.wall_s, "base_sha256": base_sha256}
        this.checkpoints.save(progress.outer_step, arrays, record)
        # The next step gives the teacher's buffers away, so the copy must be complete first; orbax
        # has made it when `save` returns.
        this.display.step_done(result.metrics, tokens_per_s)
    this.checkpoints.wait()
    return arrays, progress


def _evaluate(this: _Run, policy: Params, split: HardSplit, name: str) -> dict[str, Any]:
    evaluation = this.setup.config.evaluation
    settings = this.setup.evaluation_sampling(evaluation.temperature, evaluation.top_p)
    with this.display.phase(f"testing {name}"):
        key = stream_key(this.setup.config.seed, "test")
        counts = this.setup.examiner.count_correct(policy, split.test, key, settings, evaluation.num_samples)
    return summarize(counts, evaluation.num_samples, evaluation.pass_at)


def _hard_only(this: _Run, split: HardSplit, num_steps: int) -> dict[str, Any]:
    """Hard-Only at `num_steps` student steps: pass@k averaged over its replicas, and each one's."""
    setup, evaluation = this.setup, this.setup.config.evaluation
    trained = train_hard_only(setup, split.train, num_steps, this.display.phase)
    settings = setup.evaluation_sampling(evaluation.temperature, evaluation.top_p)
    with this.display.phase("testing Hard-Only"):
        key = stream_key(setup.config.seed, "test")
        counts = setup.examiner.count_correct_population(
            trained.states.params, setup.population, split.test, key, settings, evaluation.num_samples
        )
    table = summarize(counts, evaluation.num_samples, evaluation.pass_at)
    largest = max(evaluation.pass_at)
    replicas = pass_at_k(counts, evaluation.num_samples, largest).mean(axis=1)
    return table | {
        "num_problems": len(split.test),
        "student_steps": trained.num_steps,
        "num_replicas": setup.population,
        f"replicas_pass@{largest}": replicas.tolist(),
    }


def _conclude(this: _Run, arrays: RunArrays, progress: Progress, split: HardSplit) -> None:
    """Tests the base model, the promoted student and Hard-Only, and writes the summary."""
    config = this.setup.config
    search_s = this.wall_s
    student_steps = progress.best_promotion * config.inner.num_steps
    rows = {
        "base": _evaluate(this, this.setup.base.params, split, "the base model"),
        "promoted_student": _evaluate(this, arrays.best, split, "the promoted student"),
    }
    search_steps = progress.outer_step * this.setup.population * config.inner.num_steps
    steps = {"promoted": student_steps, "search": search_steps, "none": 0}
    if config.hard_only.num_steps != "none":
        rows["hard_only"] = _hard_only(this, split, steps[config.hard_only.num_steps])
    summary = {
        "config": config.to_dict(),
        **rows,
        "num_promotions": len(progress.promotions),
        "promotions": [dataclasses.asdict(promotion) for promotion in progress.promotions],
        "outer_steps": progress.outer_step,
        "idle_outer_steps": progress.num_idle_steps,
        "student_steps": student_steps,
        "num_sampled_tokens": progress.num_sampled_tokens,
        "search_s": search_s,
        "wall_s": this.wall_s,
        "peak_rss_gib": _peak_rss_gib(),
        "compilations": this.compilations.count,
        "compilations_s": this.compilations.seconds,
        "state_sha256": params_sha256({"teacher": arrays.teacher, "baseline": arrays.baseline, "best": arrays.best}),
    }
    plots.learning_curve(this.workdir)
    write_json(this.workdir / "summary.json", json.loads(json.dumps(summary, default=_plain)))


def _show(this: _Run, summary: dict[str, Any]) -> None:
    policies = ("base", "promoted_student", "hard_only")
    rows: dict[str, dict[str, Any]] = {name: summary[name] for name in policies if name in summary}
    this.display.close()
    this.display.say(pass_table(rows, summary["config"]["evaluation"]["pass_at"]))
    this.display.say(
        f"{summary['num_promotions']} promotions in {summary['outer_steps']} outer steps; the promoted student has "
        f"{summary['student_steps']} student steps behind it; {summary['wall_s']:.0f} s, "
        f"{summary['peak_rss_gib']:.2f} GiB, {summary['compilations']} programs compiled\n"
        f"everything is in {this.workdir}"
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else list(value)


def _peak_rss_gib() -> float:
    units = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * units / 2**30
