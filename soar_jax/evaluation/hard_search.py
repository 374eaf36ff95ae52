"""Counting right answers round by round: what is solved is asked no more, and nothing is lost by a kill."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from soar_jax.evaluation import hard_subset
from soar_jax.model.attention import PLAIN
from soar_jax.rng import stream_key
from soar_jax.runs.build import Setup
from soar_jax.settings import require, what
from soar_jax.storage.records import JsonLines, remove, replace_text
from soar_jax.types import Problem

# Right answers [problems] to problems (the first of them at this place in the round), asked in this round.
Ask = Callable[[Sequence[Problem], int, int], np.ndarray]
# Problems solved, problems in all, and times that one was asked so far in a round and is still to be asked at most.
Report = Callable[[int, int, int, int], None]


class CountFile:
    """Counts of each round as JSON lines under a key; rows of another key, or half a row, are forgotten."""

    def __init__(self, path: epath.Path, key: str) -> None:
        """Reads what an earlier start has left."""
        self._lines = JsonLines(path)
        self.known: dict[tuple[int, str], int] = {}  # right answers by round and problem
        if path.exists():
            self._lines.cut(path.read_bytes().rfind(b"\n") + 1)
        header, *rows = _rows(path) or [{}]
        if header.get("key") == key:
            self.known = {(row["round"], row["id"]): row["num_correct"] for row in rows}
        else:
            remove(path)
            self._lines.append([{"key": key}])

    def add(self, number: int, problems: Sequence[Problem], counts: np.ndarray) -> None:
        """Counts of one call, on disk when this returns."""
        pairs = list(zip(problems, counts.tolist(), strict=True))
        self._lines.append([{"round": number, "id": problem.id, "num_correct": count} for problem, count in pairs])
        self.known |= {(number, problem.id): count for problem, count in pairs}


def count_correct(
    setup: Setup, problems: Sequence[Problem], folder: epath.Path, report: Report, is_begun: bool = False
) -> np.ndarray:
    """Right answers of the base model to each candidate problem, as `hard_subset` in the config says (paper: fail@k).

    A problem that was solved in a round is not asked in the next, so counts are whole only of problems that were
    never solved. `hard_subset.jsonl` in the folder keeps them, under a key made of all that they depend on.

    Args:
      is_begun: whether a run has begun with them, so that they must not become others.

    Returns:
      [len(problems)] int64.

    Raises:
      SettingsError: a run has begun, and its counts are lost or are others.
    """
    config, section = setup.config, setup.config.hard_subset
    settings = setup.evaluation_sampling(section.temperature, section.top_p)
    key = hard_subset.cache_key(
        setup.base_sha256,
        dataclasses.replace(setup.sampler.model, attention=PLAIN),  # a run may go on on other devices
        list(problems),
        config.prompts.to_dict(),
        what(config.to_dict())["grading"],
        settings,
        (section.num_samples, section.samples_per_round),
        config.seed,
    )
    path = folder / "hard_subset.jsonl"
    counts = hard_subset.read_counts(path, key)
    if counts is not None:
        return counts
    require(
        not is_begun,
        f"this run has found its hard problems already, and {path} is missing or of another model.source, other "
        "problems or settings of sampling; bring back what it was, or choose another --workdir",
    )

    def ask(asked: Sequence[Problem], first_place: int, number: int) -> np.ndarray:
        draw = stream_key(config.seed, "hard_subset", *([number] if number else []))
        return setup.evaluator.count_correct(
            setup.start,
            asked,
            key=draw,
            settings=settings,
            samples_per_problem=section.samples_per_round,
            first_place=first_place,
        )

    partial = folder / "hard_subset.rounds.jsonl"
    num_rounds = section.num_samples // section.samples_per_round
    counts, rounds = count_until_solved(
        problems,
        ask,
        num_rounds=num_rounds,
        per_call=config.evaluation.problems_per_call,
        file=CountFile(partial, key),
        report=report,
    )
    replace_text(
        path, hard_subset.counts_text(key, problems, counts=counts, samples=rounds * section.samples_per_round)
    )
    remove(partial)
    return counts


def count_until_solved(
    problems: Sequence[Problem], ask: Ask, num_rounds: int, per_call: int, file: CountFile, report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """Asks all problems in the first round, and in each further round those that are still unsolved.

    A round's draws depend on the round and on a problem's place among those asked in it, and these on the rounds
    before: a search that was killed and started again ends with the counts of one that was not. Each call is
    reported that was not in the file.

    Returns:
      Right answers and rounds asked of each problem, both [len(problems)] int64.
    """
    counts, rounds = np.zeros(len(problems), np.int64), np.zeros(len(problems), np.int64)
    for number in range(num_rounds):
        left = np.flatnonzero(counts == 0)
        for start in range(0, len(left), per_call):
            part = left[start : start + per_call]
            asked = [problems[index] for index in part]
            is_new = any((number, problem.id) not in file.known for problem in asked)
            if is_new:
                file.add(number, asked, ask(asked, start, number))
            counts[part] = [file.known[number, problem.id] for problem in asked]
            rounds[part] += 1
            if is_new:
                unsolved, later = int((counts == 0).sum()), len(left) - start - len(part)
                num_left = later + unsolved * (num_rounds - number - 1)
                report(len(problems) - unsolved, len(problems), int(rounds.sum()), num_left)
    return counts, rounds


def _rows(path: epath.Path) -> list[dict[str, Any]]:
    """Whole rows; none of a file that is no file of counts."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (ValueError, RecursionError):
        return []
