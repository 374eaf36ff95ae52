import numpy as np
import pytest

from soar_jax.evaluation.hard_search import CountFile, count_until_solved
from soar_jax.types import Problem

PROBLEMS = [Problem(id=f"p{index}", question=f"q{index}", answer="1", subject="s", level=1) for index in range(23)]
NUM_ROUNDS, PER_CALL = 6, 4


class KilledError(Exception):
    """Ends a search in the middle."""


def asker(calls, kill_after=None):
    """A model that solves half of the problems now and then; draws depend on round and place, as real ones do."""

    def ask(problems, first_place, number):
        if kill_after is not None and len(calls) >= kill_after:
            raise KilledError
        calls.append((number, [problem.id for problem in problems]))
        places = first_place + np.arange(len(problems))
        luck = np.array([np.random.default_rng((number, place)).random() for place in places])
        is_easy = np.array([int(problem.id[1:]) % 2 for problem in problems])
        return (is_easy * (luck < 0.4)).astype(np.int64)

    return ask


def search(path, calls, kill_after=None, key="k"):
    said = []
    found = count_until_solved(
        PROBLEMS,
        asker(calls, kill_after),
        num_rounds=NUM_ROUNDS,
        per_call=PER_CALL,
        file=CountFile(path, key),
        report=lambda *report: said.append(report),
    )
    return found, said


def test_what_is_solved_is_asked_no_more(tmp_path):
    calls = []
    (counts, rounds), said = search(tmp_path / "c.jsonl", calls)
    assert all(counts[0::2] == 0)
    assert all(rounds[0::2] == NUM_ROUNDS)
    solved = counts > 0
    assert solved.any()
    assert rounds[solved].min() < NUM_ROUNDS
    assert sum(len(ids) for _, ids in calls) == rounds.sum()
    assert said[-1] == (solved.sum(), len(PROBLEMS), rounds.sum(), 0)
    num_solved, _, num_asked, num_left = said[0]
    assert num_asked == PER_CALL
    assert num_left == len(PROBLEMS) * NUM_ROUNDS - PER_CALL - num_solved * (NUM_ROUNDS - 1)


@pytest.mark.parametrize("kills", [(3, 9, 14), (1, 1, 1), (7, 8, 20)])
def test_killed_searches_end_with_the_counts_of_a_whole_one(tmp_path, kills):
    whole_calls = []
    (counts, rounds), _ = search(tmp_path / "whole.jsonl", whole_calls)
    path, calls = tmp_path / "killed.jsonl", []
    for kill_after in kills:
        with pytest.raises(KilledError):
            search(path, calls, len(calls) + kill_after if len(set(kills)) == 1 else kill_after)
        with path.open("a") as file:
            file.write('{"round": 1, "id": "p')  # a row that was being written
    (again, again_rounds), _ = search(path, calls)
    assert again.tolist() == counts.tolist()
    assert again_rounds.tolist() == rounds.tolist()
    assert calls == whole_calls  # no sample was drawn twice


@pytest.mark.parametrize(
    "content", ["", "junk", '{"key": "other"}\n{"round": 0, "id": "p0", "num_correct": 9}\n', "[1"]
)
def test_another_searchs_file_is_not_believed(tmp_path, content):
    path = tmp_path / "c.jsonl"
    path.write_text(content)
    calls = []
    (counts, _), _ = search(path, calls)
    assert counts.max() <= NUM_ROUNDS
    assert counts[0] == 0
