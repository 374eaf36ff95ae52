import numpy as np
import pytest

from soar_jax.evaluation.breakdown import breakdown
from soar_jax.types import Problem

PROBLEMS = [
    Problem(id=f"p{i}", question=f"q{i}", answer="1", subject="algebra" if i < 6 else "", level=1 + i % 2)
    for i in range(10)
]
VERDICTS = np.array([["correct", "wrong"]] * 4 + [["correct", "correct"]] * 2 + [["unparsable", "timeout"]] * 4)


def test_counts_by_subject_and_level():
    tables = breakdown(PROBLEMS, VERDICTS, (1, 2))
    assert tables["overall"]["num_problems"] == 10
    assert tables["overall"]["verdicts"] == {"correct": 8, "wrong": 4, "unparsable": 4, "timeout": 4, "lost": 0}
    assert tables["overall"]["pass@1"]["mean"] == pytest.approx(0.4)
    assert tables["overall"]["pass@2"]["mean"] == pytest.approx(0.6)
    assert {name: row["num_problems"] for name, row in tables["subjects"].items()} == {"": 4, "algebra": 6}
    assert tables["subjects"][""]["pass@2"] == {"mean": 0, "low": 0, "high": 0}
    assert tables["subjects"]["algebra"]["verdicts"] == {
        "correct": 8,
        "wrong": 4,
        "unparsable": 0,
        "timeout": 0,
        "lost": 0,
    }
    assert {name: row["num_problems"] for name, row in tables["levels"].items()} == {"1": 5, "2": 5}


def test_interval_has_the_width_of_the_normal_approximation():
    interval = breakdown(PROBLEMS, VERDICTS, (2,))["overall"]["pass@2"]
    deviation = np.sqrt(0.6 * 0.4 / 10)  # of the mean of ten problems
    assert interval["low"] == pytest.approx(0.6 - 1.96 * deviation, abs=0.05)
    assert interval["high"] == pytest.approx(0.6 + 1.96 * deviation, abs=0.05)
