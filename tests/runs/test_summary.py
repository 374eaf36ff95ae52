import json
from types import SimpleNamespace

import pytest
from etils import epath

from soar_jax.evaluation.hard_subset import SealedProblems
from soar_jax.runs.summary import TESTS, count_test_questions, show_summary, tables
from soar_jax.types import Problem
from tests.configs import make_config


def sealed(*questions):
    """A hard test."""
    return SealedProblems([Problem(id=text, question=text, answer="1", subject="", level=1) for text in questions])


@pytest.mark.parametrize(
    ("method", "changes", "count"),
    [
        ("soar_math", {}, 2),
        ("base_teacher", {}, 3),
        ("promotion_questions", {"source_run": "runs/before"}, 3),
    ],
)
def test_written_test_questions_are_counted_once(tmp_path, method, changes, count):
    """A run's own promotion questions are in the ledger already."""
    written = {"ledger.jsonl": ["A", "x", None, " a\n", "ab"], "curriculum.jsonl": ["b", "x"]}
    for name, questions in written.items():
        (tmp_path / name).write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))
    assert count_test_questions(epath.Path(tmp_path), sealed("a", "b"), make_config(method, **changes)) == count


def test_a_run_without_questions_has_written_no_test_question(tmp_path):
    assert count_test_questions(epath.Path(tmp_path), sealed("a"), make_config("hard_only")) == 0


def test_tables_are_means_over_problems_and_replicas():
    test = {"num_samples": 2, "ids": ["p", "q"], "num_correct": [[2, 0], [1, 1]]}
    rows = tables({"base": {"student_steps": 5, "num_replicas": 2, "tests": {"hard_test": test}}}, (1, 2))
    assert (rows["base"]["student_steps"], rows["base"]["num_replicas"], rows["base"]["tested_at"]) == (5, 2, [5])
    found = rows["base"]["hard_test"]
    assert (found["num_problems"], found["pass@1"], found["pass@2"]) == (2, 0.5, 0.75)


def test_tables_are_means_over_several_reported_tests():
    """Two replicas, tested at two steps; there is no transfer."""
    test = {"num_samples": 2, "ids": ["p", "q"], "num_correct": [[0, 0], [0, 0], [2, 2], [0, 0]]}
    result = {"student_steps": 9, "num_replicas": 2, "tested_at": [6, 9], "tests": {"hard_test": test}}
    row = tables({"curriculum": result}, (1,))["curriculum"]
    assert row["hard_test"] == {"pass@1": 0.25, "num_problems": 2}
    assert (row["num_replicas"], row["tested_at"], "transfer" in row) == (2, [6, 9], False)


def test_tables_without_problems_are_not_shown():
    """Of a run without transfer that trains nobody."""
    said, sent = [], []
    display = SimpleNamespace(close=lambda: None, say=said.append, times=lambda elapsed_s: f"testing {elapsed_s} s")
    config = make_config("inference", **{"source_run": "runs/before", "evaluation.pass_at": (1,)})
    context = SimpleNamespace(
        display=display,
        workdir="w",
        setup=SimpleNamespace(config=config),
        clock=SimpleNamespace(start_s=7),
        tracking=SimpleNamespace(log_summary=sent.append),
    )
    policies = {"base": {"hard_test": {"pass@1": 0.5}}, "promoted_student": {"hard_test": {"pass@1": 0.75}}}
    counts = dict.fromkeys(
        ("num_promotions", "outer_steps", "student_steps", "wall_s", "peak_rss_gib", "compilations"), 1
    )
    show_summary(context, {"policies": policies} | counts)
    assert sent == [{"policies": policies} | counts]
    table, closing = said
    assert table.title == TESTS["hard_test"]
    assert "1 promotions in runs/before; the promoted student has 1 student steps behind it; 1 s" in closing
    assert closing.endswith("1 programs compiled\ntime of this start: testing 7 s\neverything is in w")
