"""The final evaluation: trains the final students, and tests every policy once (paper, section 4)."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.runs.context import RunContext
from soar_jax.runs.summary import write_summary
from soar_jax.sampling.text import Draw
from soar_jax.soar import curricula
from soar_jax.soar.curricula import Stage
from soar_jax.soar.final_students import FINAL_STUDENTS, promoted_steps
from soar_jax.soar.ledger import question_row
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import SearchResult
from soar_jax.storage import files
from soar_jax.storage.records import read_json, remove, replace_text, to_line, write_json
from soar_jax.types import Problem

Result = dict[str, Any]  # the contents of one results/NAME.json
Tests = dict[str, tuple[Problem, ...]]  # problems of each test
Count = Callable[..., np.ndarray]  # (problems, draw=) -> number of right answers [replicas, problems]


def evaluate_run(context: RunContext, search: SearchResult) -> dict[str, Any]:
    """Trains the final students, tests all policies and writes the summary; reads the summary if it exists.

    Returns:
      The contents of `summary.json`.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    path = context.workdir / "summary.json"
    if path.exists():
        kept: dict[str, Any] = read_json(path)
        return kept
    search_s, kept_s = context.clock.wall_s, _saved_results_s(context.workdir)
    results, num_tokens_written = test_policies(context, search)
    context.say_compiled()
    return write_summary(
        context, search, results, search_s=search_s, kept_s=kept_s, num_tokens_written=num_tokens_written
    )


def test_policies(context: RunContext, search: SearchResult) -> tuple[dict[str, Result], int]:
    """Trains the final students and tests every policy; each result is saved to `results/NAME.json`.

    Results of earlier starts are kept.

    Returns:
      The results by name: "base" (paper: base model), "promoted_student" (paper: PS) if the run promotes, and the kinds
      of `final.students`; and the number of tokens sampled for the synthetic stages.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    setup, meter = context.setup, context.setup.meter
    tokens_before = meter.num_tokens
    stages = curricula.method_stages(setup, search)
    num_tokens_written = meter.num_tokens - tokens_before
    rows = [dataclasses.asdict(problem) for problem in context.transfer]
    replace_text(context.workdir / "transfer.jsonl", "".join(map(to_line, rows)))
    search.split.test.unseal()
    tests = {"hard_test": search.split.test.problems, "transfer": context.transfer}
    makers = {"base": functools.partial(_test_policy, context, tests, setup.base_weights, 0)}
    if setup.config.promotes:
        steps = promoted_steps(setup, search)
        makers["promoted_student"] = functools.partial(_test_policy, context, tests, search.arrays.best, steps)
    for name in setup.config.final.students:
        makers[name] = functools.partial(_train_and_test, context, tests, search, name, stages)
    if stages:
        save_questions(setup, context.workdir, stages)
    elif "self_play" not in setup.config.final.students:
        remove(context.workdir / "curriculum.jsonl")  # of another config, see `check_workdir`
    return {name: _load_or_make(context, name, make) for name, make in makers.items()}, num_tokens_written


def remove_results(workdir: epath.Path) -> None:
    """Removes the results and the summary."""
    results = [workdir / "results" / name for name in files.list_names(workdir / "results")]
    for path in (workdir / "summary.json", *results):
        remove(path)


def save_questions(setup: Setup, workdir: epath.Path, stages: Sequence[Stage]) -> None:
    """Writes all questions of synthetic stages to `curriculum.jsonl`."""
    rows = [
        {"stage": number, "stage_name": stage.name} | question_row(setup, item)
        for number, stage in enumerate(stages, start=1)
        for item in stage.questions
    ]
    replace_text(workdir / "curriculum.jsonl", "".join(map(to_line, rows)))


def _saved_results_s(workdir: epath.Path) -> float:
    """Sums the wall time of the results that earlier starts have saved."""
    names = files.list_names(workdir / "results")
    return float(sum(read_json(workdir / "results" / name)["wall_s"] for name in names if name.endswith(".json")))


def _load_or_make(context: RunContext, name: str, make: Callable[[], Result]) -> Result:
    """Loads a policy's result, or makes and saves it."""
    path = context.workdir / "results" / f"{name}.json"
    if path.exists():
        kept: Result = read_json(path)
        return kept
    started, tokens_before = time.perf_counter(), context.setup.meter.num_tokens
    result: Result = {"policy": name} | make()
    result["num_sampled_tokens"] = context.setup.meter.num_tokens - tokens_before
    processes.assert_equal(f"the result {name!r}", result)
    result["wall_s"] = time.perf_counter() - started
    path.parent.mkdir(exist_ok=True)  # in every process
    write_json(path, result)
    return result


def _test_policy(context: RunContext, tests: Tests, policy: Params, student_steps: int) -> Result:
    """Tests one policy."""

    def count(problems: Sequence[Problem], draw: Draw) -> np.ndarray:
        return context.setup.evaluator.count_correct(policy, problems, draw)[None]

    return {
        "student_steps": student_steps,
        "trained_steps": 0,
        "num_replicas": 1,
        "curve": [],
        "tests": _test(context, tests, count),
    }


def _train_and_test(
    context: RunContext, tests: Tests, search: SearchResult, name: str, stages: tuple[Stage, ...]
) -> Result:
    """Trains and tests a kind of final student."""
    setup = context.setup
    students = FINAL_STUDENTS[name](setup, search, stages, context.phase)
    if students.written:
        save_questions(setup, context.workdir, students.written)
    replicas = setup.config.final.num_replicas
    count = functools.partial(setup.evaluator.count_correct, students.weights, num_students=replicas)
    return {
        "student_steps": students.student_steps,
        "trained_steps": students.trained_steps,
        "num_replicas": replicas,
        "curve": students.curve,
        "tests": _test(context, tests, count),
    }


def _test(context: RunContext, tests: Tests, count: Count) -> dict[str, Any]:
    """Counts right answers to the problems of each test; all policies use the same random keys."""
    draw = context.setup.test_draw("test", context.setup.config.evaluation.num_samples)
    tested = {}
    for name, problems in tests.items():
        with context.phase(f"testing on {name}"):
            counts = count(problems, draw=draw)
        tested[name] = {
            "num_samples": draw.num_samples,
            "ids": [problem.id for problem in problems],
            "num_correct": counts.tolist(),
        }
    return tested
