"""The target problems: those that the base model never solves (paper: fail@128), and their split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.errors import SettingsError, require
from soar_jax.rng import stream_generator
from soar_jax.types import Problem, normalize_question


class SealedError(RuntimeError):
    """Raised when the test problems are read before the final evaluation."""


class SealedProblems:
    """Problems that cannot be read before the final evaluation, but that questions can be compared with."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._problems = tuple(problems)
        self._is_open = False
        self.fingerprints = frozenset(mark for problem in problems for mark in _fingerprints(problem))

    def __len__(self) -> int:
        return len(self._problems)

    def unseal(self) -> None:
        """Allows reading from now on; nothing that is trained or chosen later may depend on the problems."""
        self._is_open = True

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems; raises `SealedError` before `unseal`."""
        if not self._is_open:
            raise SealedError("hard test problems may be read in the final evaluation only")
        return self._problems

    def contains(self, question: str) -> bool:
        """Whether a question is one of them, compared as normalised text."""
        return normalize_question(question) in self.fingerprints


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSplit:
    """Disjoint sets of target problems. The teacher sees none of them; students train on `train` only."""

    train: tuple[Problem, ...]  # reward questions are drawn from here
    validation: tuple[Problem, ...]  # selects the promoted student; empty: hard train does (paper, section 4)
    test: SealedProblems  # for the final evaluation only


def split_hard(problems: Sequence[Problem], seed: int, validation_share: float) -> HardSplit:
    """Splits problems into random halves, train and test (paper); `validation_share` of the train half is validation.

    Raises:
      SettingsError: there are too few problems. Only a validation set of share 0 may be empty.
    """
    order = stream_generator(seed, "hard_split").permutation(len(problems))
    half = len(problems) // 2
    num_validation = round(half * validation_share)
    shuffled = [problems[index] for index in order]
    split = HardSplit(
        train=tuple(shuffled[num_validation:half]),
        validation=tuple(shuffled[:num_validation]),
        test=SealedProblems(shuffled[half:]),
    )
    sets = ("train", "validation", "test") if validation_share else ("train", "test")
    require(
        all(len(getattr(split, name)) > 0 for name in sets),
        f"the hard subset has {len(problems)} problem(s), too few for {', '.join(sets[:-1])} and {sets[-1]}; raise "
        "hard_subset.num_candidates, or choose harder problems in problems.levels",
    )
    check_disjoint(split)
    return split


def sizes_text(split: HardSplit) -> str:
    """Number of problems of each set, as "80 train, 40 validation, 120 test"; an empty one is left out."""
    sizes = {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    return ", ".join(f"{size} {name}" for name, size in sizes.items() if size)


def check_disjoint(split: HardSplit) -> None:
    """Raises SettingsError if two sets share a problem, by id or by normalised question."""
    seen = dict.fromkeys(split.test.fingerprints, "test")
    for name in ("train", "validation"):
        for problem in getattr(split, name):
            for mark in _fingerprints(problem):
                if seen.setdefault(mark, name) != name:
                    raise SettingsError(f"problem {problem.id} is both in hard {seen[mark]} and in hard {name}")


def _fingerprints(problem: Problem) -> tuple[str, str]:
    return problem.id, normalize_question(problem.question)


def cache_key(*parts: object) -> str:
    """Hash of everything that the counts depend on (weights, candidates, sampling)."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def counts_text(key: str, problems: Sequence[Problem], counts: np.ndarray, samples: np.ndarray) -> str:
    """Contents of the file for `read_counts`: JSON lines, one per candidate, with its correct answers and samples."""
    rows: list[dict[str, Any]] = [{"key": key, "num_samples": int(samples.max()), "num_candidates": len(problems)}]
    for problem, count, drawn in zip(problems, counts.tolist(), samples.tolist(), strict=True):
        rows.append(dataclasses.asdict(problem) | {"num_correct": count, "num_samples": drawn})
    return "".join(json.dumps(row) + "\n" for row in rows)


def read_counts(path: pathlib.Path, key: str) -> np.ndarray | None:
    """Reads the correct answers to each candidate; None if the file is missing, broken or has another key."""
    if not path.exists():
        return None
    try:
        header, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        if header["key"] != key or header["num_candidates"] != len(rows):
            return None
        return np.array([int(row["num_correct"]) for row in rows])
    except (ValueError, KeyError, TypeError):
        return None
