import json

import pytest
from etils import epath

from soar_jax.evaluation.hard_subset import SealedProblems
from soar_jax.runs.summary import count_test_questions, tables
from soar_jax.types import Problem


def sealed(*questions):
    """A hard test."""
    return SealedProblems([Problem(id=text, question=text, answer="1", subject="", level=1) for text in questions])


@pytest.mark.parametrize(("source", "count"), [("promotions", 2), ("teacher", 3)])
def test_written_test_questions_are_counted_once(tmp_path, source, count):
    """Questions of promotions are in the ledger already."""
    written = {"ledger.jsonl": ["A", "x", None, " a\n", "ab"], "curriculum.jsonl": ["b", "x"]}
    for name, questions in written.items():
        (tmp_path / name).write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))
    assert count_test_questions(epath.Path(tmp_path), sealed("a", "b"), source) == count


def test_a_run_without_questions_has_written_no_test_question(tmp_path):
    assert count_test_questions(epath.Path(tmp_path), sealed("a"), "none") == 0


def test_tables_are_means_over_problems_and_replicas():
    test = {"num_samples": 2, "ids": ["p", "q"], "num_correct": [[2, 0], [1, 1]]}
    rows = tables({"base": {"student_steps": 5, "num_replicas": 2, "tests": {"hard_test": test}}}, (1, 2))
    assert (rows["base"]["student_steps"], rows["base"]["num_replicas"]) == (5, 2)
    found = rows["base"]["hard_test"]
    assert (found["num_problems"], found["pass@1"], found["pass@2"]) == (2, 0.5, 0.75)
