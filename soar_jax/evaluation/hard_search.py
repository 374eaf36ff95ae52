"""Counts correct answers round by round: solved problems are dropped, and a killed search resumes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from soar_jax.config.sections import GradingSection, PromptsSection
from soar_jax.errors import require
from soar_jax.evaluation import hard_subset
from soar_jax.evaluation.evaluator import Evaluator
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.rng import stream_key
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.text import Draw
from soar_jax.storage.records import JsonLines, remove, replace_text
from soar_jax.types import Problem

# (problems, index of the first one in the round, round) -> correct answers [len(problems)] int64.
CountCorrect = Callable[[Sequence[Problem], int, int], np.ndarray]
# Called with: problems solved, (problem, round) pairs done, and at most to do.
ReportCounts = Callable[[int, int, int], None]


class CountFile:
    """Counts of each round, as JSON lines below a key. Rows of another key and an unfinished last row are dropped."""

    def __init__(self, path: epath.Path, key: str) -> None:
        self._lines = JsonLines(path)
        self.known: dict[tuple[int, str], int] = {}  # correct answers by (round, problem id)
        if path.exists():
            self._lines.truncate(path.read_bytes().rfind(b"\n") + 1)
        header, *rows = _rows(path) or [{}]
        if header.get("key") == key:
            self.known = {(row["round"], row["id"]): row["num_correct"] for row in rows}
        else:
            remove(path)
            self._lines.append([{"key": key}])

    def add(self, number: int, problems: Sequence[Problem], counts: np.ndarray) -> None:
        """Adds the counts of one call; they are on disk when this returns."""
        pairs = list(zip(problems, counts.tolist(), strict=True))
        self._lines.append([{"round": number, "id": problem.id, "num_correct": count} for problem, count in pairs])
        self.known |= {(number, problem.id): count for problem, count in pairs}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSearch:
    """A search for problems that a policy never solves."""

    base_sha256: str  # of the policy
    model: ModelConfig
    problems: Sequence[Problem]
    prompts: PromptsSection
    grading: GradingSection
    settings: SamplingSettings
    num_samples: int
    samples_per_round: int
    seed: int

    @property
    def key(self) -> str:
        """Key of the counts in files: everything that they depend on."""
        return hard_subset.cache_key(
            self.base_sha256,
            dataclasses.replace(self.model, attention="plain"),  # a run may resume on other devices
            list(self.problems),
            self.prompts.to_dict(),
            self.grading.identity(),
            self.settings,
            (self.num_samples, self.samples_per_round),
            self.seed,
        )


def count_correct(
    evaluator: Evaluator,
    weights: Params,
    search: HardSearch,
    *,
    folder: epath.Path,
    report: ReportCounts,
    is_begun: bool,
) -> np.ndarray:
    """Correct answers of a policy to each candidate problem (paper: fail@k).

    A problem solved in a round leaves the search, so counts are complete only of problems that were never
    solved. `hard_subset.jsonl` in the folder keeps them, under a key made of all that they depend on.

    Args:
      is_begun: whether a run has begun with these counts, so that they must not change.

    Returns:
      [len(problems)] int64.

    Raises:
      SettingsError: a run has begun, and its counts are lost or others.
    """
    path, partial = folder / "hard_subset.jsonl", folder / "hard_subset.rounds.jsonl"
    counts = hard_subset.read_counts(path, search.key)
    if counts is not None:
        return counts
    require(
        not is_begun,
        f"this run has found its hard problems already, and {path} is missing or of another model.source, other "
        "problems or settings of sampling; bring back what it was, or choose another --workdir",
    )

    def count(problems: Sequence[Problem], first_index: int, number: int) -> np.ndarray:
        return evaluator.count_correct(
            weights,
            problems,
            Draw(
                key=stream_key(search.seed, "hard_subset", *([number] if number else [])),
                settings=search.settings,
                num_samples=search.samples_per_round,
            ),
            first_index=first_index,
        )

    counts, rounds = count_until_solved(
        search.problems,
        count,
        num_rounds=search.num_samples // search.samples_per_round,
        per_call=evaluator.prompts_per_call,
        file=CountFile(partial, search.key),
        report=report,
    )
    samples = rounds * search.samples_per_round
    replace_text(path, hard_subset.counts_text(search.key, search.problems, counts=counts, samples=samples))
    remove(partial)
    return counts


def count_until_solved(
    problems: Sequence[Problem],
    count: CountCorrect,
    num_rounds: int,
    per_call: int,
    file: CountFile,
    report: ReportCounts,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluates all problems in the first round and the unsolved ones in each further round.

    Draws depend only on the round and on a problem's index in the round, so a killed and restarted search ends with
    the counts of an uninterrupted one. Calls that are not yet in `file` are reported.

    Returns:
      Correct answers and rounds of each problem, both [len(problems)] int64.
    """
    counts, rounds = np.zeros(len(problems), np.int64), np.zeros(len(problems), np.int64)
    for number in range(num_rounds):
        left = np.flatnonzero(counts == 0)
        for start in range(0, len(left), per_call):
            indices = left[start : start + per_call]
            batch = [problems[index] for index in indices]
            is_new = any((number, problem.id) not in file.known for problem in batch)
            if is_new:
                file.add(number, batch, count(batch, start, number))
            counts[indices] = [file.known[number, problem.id] for problem in batch]
            rounds[indices] += 1
            if is_new:
                unsolved, later = int((counts == 0).sum()), len(left) - start - len(indices)
                num_left = later + unsolved * (num_rounds - number - 1)
                report(len(problems) - unsolved, int(rounds.sum()), num_left)
    return counts, rounds


def _rows(path: epath.Path) -> list[dict[str, Any]]:
    """Rows of a file; none if it is not JSON lines."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (ValueError, RecursionError):
        return []
