import numpy as np
import pytest

from soar_jax.evaluation.hard_search import CountFile, count_until_solved
from soar_jax.types import Problem

PROBLEMS = [Problem(id=f"p{index}", question=f"q{index}", answer="1", subject="s", level=1) for index in range(23)]
NUM_ROUNDS, PER_CALL = 6, 4


class KilledError(Exception):
    """Stops a search in the middle."""


def counter(calls, kill_after=None):
    """A model that sometimes solves every second problem; draws depend on round and index, as real ones do."""

    def count(problems, first_index, number):
        if kill_after is not None and len(calls) >= kill_after:
            raise KilledError
        calls.append((number, [problem.id for problem in problems]))
        indices = first_index + np.arange(len(problems))
        luck = np.array([np.random.default_rng((number, index)).random() for index in indices])
        is_easy = np.array([int(problem.id[1:]) % 2 for problem in problems])
        return (is_easy * (luck < 0.4)).astype(np.int64)

    return count


def search(path, calls, kill_after=None, key="k"):
    reports = []
    found = count_until_solved(
        PROBLEMS,
        counter(calls, kill_after),
        num_rounds=NUM_ROUNDS,
        per_call=PER_CALL,
        file=CountFile(path, key),
        report=lambda *report: reports.append(report),
    )
    return found, reports


def test_solved_problems_are_dropped_from_later_rounds(tmp_path):
    calls = []
    (counts, rounds), reports = search(tmp_path / "c.jsonl", calls)
    assert all(counts[0::2] == 0)
    assert all(rounds[0::2] == NUM_ROUNDS)
    solved = counts > 0
    assert solved.any()
    assert rounds[solved].min() < NUM_ROUNDS
    assert sum(len(ids) for _, ids in calls) == rounds.sum()
    assert reports[-1] == (solved.sum(), rounds.sum(), 0)
    num_solved, num_done, num_left = reports[0]
    assert num_done == PER_CALL
    assert num_left == len(PROBLEMS) * NUM_ROUNDS - PER_CALL - num_solved * (NUM_ROUNDS - 1)


@pytest.mark.parametrize("kills", [(3, 9, 14), (1, 1, 1), (7, 8, 20)])
def test_killed_search_ends_like_an_uninterrupted_one(tmp_path, kills):
    expected_calls = []
    (counts, rounds), _ = search(tmp_path / "uninterrupted.jsonl", expected_calls)
    path, calls = tmp_path / "killed.jsonl", []
    for kill_after in kills:
        with pytest.raises(KilledError):
            search(path, calls, len(calls) + kill_after if len(set(kills)) == 1 else kill_after)
        with path.open("a") as file:
            file.write('{"round": 1, "id": "p')  # a row that was being written
    (again, again_rounds), _ = search(path, calls)
    assert again.tolist() == counts.tolist()
    assert again_rounds.tolist() == rounds.tolist()
    assert calls == expected_calls  # no sample was drawn twice


@pytest.mark.parametrize(
    "content", ["", "junk", '{"key": "other"}\n{"round": 0, "id": "p0", "num_correct": 9}\n', "[1"]
)
def test_file_of_another_search_is_ignored(tmp_path, content):
    path = tmp_path / "c.jsonl"
    path.write_text(content)
    calls = []
    (counts, _), _ = search(path, calls)
    assert counts.max() <= NUM_ROUNDS
    assert counts[0] == 0
