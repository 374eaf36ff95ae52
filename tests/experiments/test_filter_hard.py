"""The problems that a policy never solves, by the command line."""

import json
import random
import signal

import pytest

from soar_jax.config.sections import FieldsSection
from soar_jax.problems import benchmarks
from tests.experiments.runs import finish, kill, run_program, tiny, wait_until

SETTINGS = (
    "--config.problems.levels=(2,3,6)",
    "--config.hard_subset.num_candidates=30",
    "--config.hard_subset.num_samples=8",
    "--config.hard_subset.samples_per_round=2",
    "--config.evaluation.problems_per_call=2",  # many calls, between which a program can be stopped
)
ROUNDS = "hard_subset.rounds.jsonl"


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def flags(out):
    return tiny("configs/soar_math.py", f"--out={out}", *SETTINGS)


def start(launch, out, num_rows):
    """Starts a search in a process of its own, and waits until its file has more than `num_rows` rows."""
    process, path = launch("filter_hard", *flags(out)), out / ROUNDS
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > num_rows, process, every_s=0.002)
    return process


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
    """An uninterrupted search: its folder, and what it printed."""
    out = tmp_path_factory.mktemp("filter") / "out"
    code, printed, err = run_program("filter_hard", *flags(out))
    assert code == 0, err
    return out, printed


def test_hard_problems_are_those_without_a_right_answer(filtered):
    out, printed = filtered
    header, *counted = rows(out / "hard_subset.jsonl")
    hard = rows(out / "hard_problems.jsonl")
    assert header["num_candidates"] == len(counted) == 30
    assert hard == [row for row in counted if row["num_correct"] == 0]
    assert 0 < len(hard) < 30
    assert set(hard[0]) == {"id", "question", "answer", "subject", "level", "num_correct", "num_samples"}
    assert "samples: 100%" in printed
    assert f"{len(hard)} of 30 problems were solved 0 times in 8" in printed
    solved = [row for row in counted if row["num_correct"]]
    assert min(row["num_samples"] for row in solved) < 8  # a solved problem is asked no more
    assert {row["num_samples"] for row in hard} == {8}
    assert not (out / ROUNDS).exists()


def test_hard_problems_are_a_benchmark(filtered):
    out, printed = filtered
    fields = {name: name for name in ("question", "answer", "subject", "level")}
    read = benchmarks.load("jsonl", str(out / "hard_problems.jsonl"), FieldsSection(**fields))
    assert [{name: getattr(problem, name) for name in fields} for problem in read.problems] == [
        {name: row[name] for name in fields} for row in rows(out / "hard_problems.jsonl")
    ]
    assert f"--config.problems.source=jsonl --config.problems.path={out}/hard_problems.jsonl" in printed
    assert all(f"--config.problems.fields.{name}={name}" in printed for name in fields)


@pytest.mark.slow
def test_a_killed_and_a_stopped_search_end_as_a_whole_one(launch, filtered, tmp_path):
    whole, _ = filtered
    out, rng = tmp_path / "out", random.Random(0)
    first, second = rng.randrange(1, 25), rng.randrange(25, 50)  # of about 85 rows
    kill(start(launch, out, num_rows=first))
    kept = (out / ROUNDS).read_text().rpartition("\n")[0]
    process = start(launch, out, num_rows=second)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 75, err
    assert "error: stopped; all graded answers are saved. Resume with: " in err
    assert "experiments/filter_hard.py --config=configs/soar_math.py" in err
    assert "Traceback" not in err
    assert not (out / "hard_problems.jsonl").exists()
    assert (out / ROUNDS).read_text().startswith(kept)  # nothing is lost
    drawn = [(row["round"], row["id"]) for row in rows(out / ROUNDS)[1:]]
    assert len(set(drawn)) == len(drawn)  # and nothing is drawn twice
    code, _, err = run_program("filter_hard", *flags(out))
    assert code == 0, err
    for name in ("hard_subset.jsonl", "hard_problems.jsonl"):
        assert (out / name).read_text() == (whole / name).read_text()
