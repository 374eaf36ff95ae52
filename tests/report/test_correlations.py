import dataclasses

import pytest

from soar_jax.report import correlations
from soar_jax.report.read import read_runs
from tests.report.conftest import write_run


def rows(step, shares, rewards):
    """Two questions a dataset, of which a share is right."""
    return [
        {"outer_step": step, "dataset": dataset, "reward": reward, "right": number < 2 * share}
        for dataset, (share, reward) in enumerate(zip(shares, rewards, strict=True))
        for number in range(2)
    ]


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0)
    return read_runs([tmp_path])[0]


def right(row):
    return row["right"]


def test_ranks_are_compared_within_steps(run):
    """Both rise from step to step, and fall together within: pooled ranks would call that a correlation of .5."""
    ledger = rows(0, (0.0, 0.5), (0.2, 0.1)) + rows(1, (0.5, 1.0), (0.4, 0.3))
    assert correlations.within_steps(dataclasses.replace(run, ledger=ledger), right) == pytest.approx(-1)


def test_steps_without_a_signal_are_left_out(run):
    ledger = rows(0, (0.0, 0.5), (0.1, 0.2)) + rows(1, (0.5, 1.0), (0.0, 0.0)) + rows(2, (0.5, 0.5), (0.1, 0.2))
    assert correlations.within_steps(dataclasses.replace(run, ledger=ledger), right) == pytest.approx(1)
    ledger = rows(0, (0.5, 0.5), (0.1, 0.2))
    assert correlations.within_steps(dataclasses.replace(run, ledger=ledger), right) is None


def test_useful_questions_are_long_and_right(run):
    of_question = correlations.PROPERTIES["share of useful questions"]
    useful = {"subject": "dial", "level": 3, "right": True}
    assert of_question(useful) is True
    for change in ({"subject": "sum"}, {"level": 2}, {"right": False}):
        assert of_question(useful | change) is False
    assert of_question({"subject": None, "level": None, "right": None}) is None
