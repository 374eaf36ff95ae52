"""What the final evaluation tests, with training and the evaluator replaced."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from etils import epath

from soar_jax.evaluation.hard_subset import HardSplit, SealedError, SealedProblems
from soar_jax.runs import final_evaluation
from soar_jax.runs.context import RunClock
from soar_jax.runs.final_evaluation import FOLDER, policies_as_they_are, remove_results
from soar_jax.soar.final_students import FINAL_STUDENTS, StudentKind
from soar_jax.soar.final_trainer import FinalStudents
from soar_jax.soar.state import Progress, SearchResult
from soar_jax.types import Problem
from tests.configs import make_config

SOURCE = {"source_run": "runs/before"}
PLATEAU = {
    "final.report_at": "plateau",
    "final.test_every": 10,
    "final.report_steps": 20,
    "final.plateau_smoothing": 5,
    "final.num_replicas": 2,
    "final.num_steps": 60,
}


def problem(name):
    return Problem(id=name, question=name, answer="1", subject="", level=1)


@pytest.fixture
def search():
    arrays = SimpleNamespace(best="best", teacher=SimpleNamespace(weights="teacher"))
    split = HardSplit(train=(problem("train"),), validation=(), test=SealedProblems([problem("a"), problem("b")]))
    return SearchResult(arrays=arrays, progress=Progress(), split=split)


@pytest.mark.parametrize(
    ("method", "changes", "names"),
    [
        ("soar_math", {}, ["base", "promoted_student", "trained_teacher"]),
        ("no_promotion", {}, ["base", "trained_teacher"]),
        ("frozen_teacher", {}, ["base", "promoted_student"]),
        ("intrinsic_teacher", {}, ["base"]),  # its reward is not grounded in students
        ("base_teacher", {}, ["base"]),
        ("hard_only", {}, ["base"]),
        ("inference", SOURCE, ["base", "promoted_student", "trained_teacher"]),
        ("grounded_teacher", SOURCE, ["base", "promoted_student", "trained_teacher"]),
    ],
)
def test_policies_that_are_tested_as_they_are(method, changes, names, search):
    setup = SimpleNamespace(config=make_config(method, **changes), base_weights="base")
    found = policies_as_they_are(setup, search)
    assert [*found] == names
    weights = {"base": "base", "promoted_student": "best", "trained_teacher": "teacher"}
    assert {name: policy for name, (policy, _) in found.items()} == {name: weights[name] for name in names}


@pytest.fixture
def make_context(tmp_path):
    """Makes the context of a run whose policies solve as many problems as their names have letters."""
    lines = []

    def count_correct(weights, problems, draw, num_students=0):
        counts = np.full((max(1, num_students), len(problems)), len(weights))
        return counts if num_students else counts[0]

    def make_context(method, transfer=(), **changes):
        setup = SimpleNamespace(
            config=make_config(method, **changes),
            base_weights="base",
            meter=SimpleNamespace(num_tokens=0, num_flops=0),
            evaluator=SimpleNamespace(count_correct=count_correct),
            test_draw=lambda stream, num_samples: SimpleNamespace(num_samples=num_samples),
        )
        return SimpleNamespace(
            setup=setup,
            workdir=epath.Path(tmp_path),
            transfer=transfer,
            clock=RunClock(),
            display=SimpleNamespace(say=lines.append),
            phase=lambda name: contextlib.nullcontext(),
            lines=lines,
        )

    return make_context


def test_a_run_that_trains_nobody_and_has_no_transfer(make_context, search, tmp_path):
    (tmp_path / "transfer.jsonl").write_text("of another config")
    with pytest.raises(SealedError):
        _ = search.split.test.problems
    results, _ = final_evaluation.test_policies(make_context("inference", **SOURCE), search)
    assert [*results] == ["base", "promoted_student", "trained_teacher"]
    for name, letters in (("base", 4), ("promoted_student", 4), ("trained_teacher", 7)):
        expected = {"num_samples": 32, "ids": ["a", "b"], "num_correct": [[letters, letters]]}
        assert results[name]["tests"] == {"hard_test": expected}
        assert json.loads((tmp_path / "results" / f"{name}.json").read_text()) == results[name]
    assert not (tmp_path / "transfer.jsonl").exists()


def test_transfer_problems_are_tested_where_there_are_some(make_context, search, tmp_path):
    results, _ = final_evaluation.test_policies(make_context("inference", transfer=(problem("t"),), **SOURCE), search)
    assert results["base"]["tests"]["transfer"]["ids"] == ["t"]
    assert json.loads((tmp_path / "transfer.jsonl").read_text())["id"] == "t"


@pytest.fixture
def train():
    """Replaces the training of hard-only students: their rewards rise at a step, and they are tested every 10 steps."""

    def train(rise, num_steps=60):
        def students(setup, search, stages, hooks):
            tests = {step: hooks.test("x" * step) for step in range(10, num_steps + 1, 10)}
            rewards = (np.arange(1, num_steps + 1) >= rise).astype(float)
            return FinalStudents(
                student_steps=num_steps, trained_steps=num_steps, curve=[], rewards=rewards, tests=tests
            )

        stack.enter_context(FINAL_STUDENTS.temporarily(hard_only=StudentKind(students)))

    with contextlib.ExitStack() as stack:
        yield train


def test_the_tests_after_the_plateau_are_the_result(train, make_context, search):
    train(rise=12)
    context = make_context("hard_only", **PLATEAU)
    result = final_evaluation.test_policies(context, search)[0]["hard_only"]
    assert (result["plateau_step"], result["tested_at"], result["num_replicas"]) == (15, [20, 30], 2)
    assert result["tests"]["hard_test"]["num_correct"] == [[20, 20], [20, 20], [30, 30], [30, 30]]
    assert context.lines == []


def test_a_plateau_that_never_comes_is_one_line(train, make_context, search):
    train(rise=1000)
    context = make_context("hard_only", **PLATEAU)
    result = final_evaluation.test_policies(context, search)[0]["hard_only"]
    assert (result["plateau_step"], result["tested_at"]) == (None, [50, 60])
    assert context.lines == [
        "hard_only: the training reward has not levelled off in 60 student steps; reported are its tests at 50, 60"
    ]


def test_what_is_saved_of_training_ends_with_its_result(train, make_context, search, tmp_path):
    train(rise=12)
    saved = tmp_path / FOLDER / "hard_only" / "10"
    saved.mkdir(parents=True)
    final_evaluation.test_policies(make_context("hard_only", **PLATEAU), search)
    assert not (tmp_path / FOLDER).exists()
    saved.mkdir(parents=True)  # a start that was stopped after the result was written
    train(rise=None)  # nothing is trained again: this would fail
    final_evaluation.test_policies(make_context("hard_only", **PLATEAU), search)
    assert not (tmp_path / FOLDER).exists()


def test_results_are_removed_with_what_is_saved_of_training(tmp_path):
    for folder in (FOLDER, "results"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hard_only.json").write_text("{}")
    remove_results(epath.Path(tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["results"]
