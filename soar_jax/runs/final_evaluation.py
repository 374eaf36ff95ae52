"""The final evaluation: trains the final students, and tests every policy once (paper, section 4)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.runs.context import RunContext
from soar_jax.runs.reported_tests import choose_tests, join_tests
from soar_jax.runs.summary import write_summary
from soar_jax.runs.training_saver import FOLDER, RunTrainingSaver
from soar_jax.sampling.text import Draw
from soar_jax.soar import curricula
from soar_jax.soar.curricula import Stage
from soar_jax.soar.final_students import FINAL_STUDENTS, promoted_steps
from soar_jax.soar.final_trainer import Hooks, Tested
from soar_jax.soar.ledger import question_row
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import SearchResult
from soar_jax.storage import files
from soar_jax.storage.records import read_json, remove, remove_folder, replace_text, to_line, write_json
from soar_jax.telemetry.meter import Work
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
    results, written = test_policies(context, search)
    context.say_compiled()
    return write_summary(context, search, results, search_s=search_s, kept_s=kept_s, written=written)


def test_policies(context: RunContext, search: SearchResult) -> tuple[dict[str, Result], Work]:
    """Trains the final students and tests every policy; each result is saved to `results/NAME.json`.

    Results of earlier starts are kept.

    Returns:
      The results by name: the policies of `policies_as_they_are`, and the kinds of `final.students`; and the work of
      writing the synthetic stages.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    setup, meter = context.setup, context.setup.meter
    tokens_before, flops_before = meter.num_tokens, meter.num_flops
    with context.phase("choosing the final students' questions"):
        stages = curricula.method_stages(setup, search)
    written = Work(sampled_tokens=meter.num_tokens - tokens_before, flops=meter.num_flops - flops_before)
    search.split.test.unseal()
    tests: Tests = {"hard_test": search.split.test.problems}
    if context.transfer:
        tests["transfer"] = context.transfer
        rows = [dataclasses.asdict(problem) for problem in context.transfer]
        replace_text(context.workdir / "transfer.jsonl", "".join(map(to_line, rows)))
    else:
        remove(context.workdir / "transfer.jsonl")  # of another config, see `check_workdir`
    makers = {
        name: functools.partial(_test_policy, context, tests, policy, student_steps=steps)
        for name, (policy, steps) in policies_as_they_are(setup, search).items()
    }
    for name in setup.config.final.students:
        makers[name] = functools.partial(_train_and_test, context, tests, search, name=name, stages=stages)
    if stages:
        save_questions(setup, context.workdir, stages)
    elif not setup.config.final_students_that("writes_questions"):
        remove(context.workdir / "curriculum.jsonl")  # of another config, see `check_workdir`
    results = {name: _load_or_make(context, name, make) for name, make in makers.items()}
    remove_folder(context.workdir / FOLDER)
    return results, written


def policies_as_they_are(setup: Setup, search: SearchResult) -> dict[str, tuple[Params, int]]:
    """Returns the policies that are tested without further training, with the student steps behind them.

    "base" (paper: base model); "promoted_student" where there is one (paper: PS); "trained_teacher" where this run
    rewarded it by students, or where it is that of `source_run` (paper: inference with Grounded-T).
    """
    config = setup.config
    policies = {"base": (setup.base_weights, 0)}
    if config.has_promoted:
        policies["promoted_student"] = (search.arrays.best, promoted_steps(setup, search))
    if config.teacher.train and (config.measures_students or config.source_run):
        policies["trained_teacher"] = (search.arrays.teacher.weights, 0)
    return policies


def remove_results(workdir: epath.Path) -> None:
    """Removes the results, the summary, and what is saved of final students in training."""
    results = [workdir / "results" / name for name in files.list_names(workdir / "results")]
    for path in (workdir / "summary.json", *results):
        remove(path)
    remove_folder(workdir / FOLDER)


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
    meter, wall_s_before = context.setup.meter, context.clock.wall_s
    tokens_before, flops_before = meter.num_tokens, meter.num_flops
    result: Result = {"policy": name} | make()
    result["num_sampled_tokens"], result["num_flops"] = (
        meter.num_tokens - tokens_before,
        meter.num_flops - flops_before,
    )
    processes.assert_equal(f"the result {name!r}", result)
    result["wall_s"] = context.clock.wall_s - wall_s_before
    path.parent.mkdir(exist_ok=True)  # in every process
    write_json(path, result)
    remove_folder(context.workdir / FOLDER / name)
    return result


def _test_policy(context: RunContext, tests: Tests, policy: Params, *, student_steps: int) -> Result:
    """Tests one policy."""

    def count(problems: Sequence[Problem], draw: Draw) -> np.ndarray:
        return context.setup.evaluator.count_correct(policy, problems, draw)[None]

    return {
        "student_steps": student_steps,
        "trained_steps": 0,
        "num_replicas": 1,
        "curve": [],
        "tested_at": [student_steps],
        "tests": _test(context, tests, count),
    }


def _train_and_test(
    context: RunContext, tests: Tests, search: SearchResult, *, name: str, stages: tuple[Stage, ...]
) -> Result:
    """Trains and tests a kind of final student."""
    setup, replicas = context.setup, context.setup.config.final.num_replicas

    def test(weights: Params) -> Tested:
        count = functools.partial(setup.evaluator.count_correct, weights, num_students=replicas)
        return _test(context, tests, count)

    saver = RunTrainingSaver(context, name)
    hooks = Hooks(phase=context.phase, test=test, saver=saver)
    students = FINAL_STUDENTS[name].train(setup, search, stages=stages, hooks=hooks)
    saver.close()
    if students.written:
        save_questions(setup, context.workdir, students.written)
    reported = choose_tests(setup.config.final, students)
    if reported.missing:
        steps = ", ".join(map(str, reported.steps))
        context.display.say(f"{name}: {reported.missing}; reported are its tests at {steps}")
    return {
        "student_steps": students.student_steps,
        "trained_steps": students.trained_steps,
        "num_replicas": replicas,
        "curve": students.curve,
        "plateau_step": reported.plateau_step,
        "tested_at": list(reported.steps),
        "tests": join_tests(students, reported.steps),
    }


def _test(context: RunContext, tests: Tests, count: Count) -> Tested:
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
