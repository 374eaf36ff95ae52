"""The target problems: those that the base model fails every time (paper: fail@128)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.rng import stream_generator
from soar_jax.settings import SettingsError, require
from soar_jax.types import Problem, normalize_question


class SealedError(RuntimeError):
    """Test problems were asked for before the final evaluation."""


class SealedProblems:
    """Problems that cannot be read before the final evaluation; text can be compared with them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Sealed."""
        self._problems = tuple(problems)
        self._is_open = False
        self.marks = frozenset(mark for problem in problems for mark in _marks(problem))

    def __len__(self) -> int:
        return len(self._problems)

    def unseal(self) -> None:
        """Opens them, for good: what is trained from here on must not be chosen by what they show."""
        self._is_open = True

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems.

        Raises:
          SealedError: they are still sealed.
        """
        if not self._is_open:
            raise SealedError("hard test problems may be read in the final evaluation only")
        return self._problems

    def holds(self, question: str) -> bool:
        """Whether a question is one of them, compared as normalised text."""
        return normalize_question(question) in self.marks


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSplit:
    """Disjoint target problems. The teacher sees none; students train on none of validation or test."""

    train: tuple[Problem, ...]  # reward questions are drawn from here
    validation: tuple[Problem, ...]  # chooses the promoted student that is tested
    test: SealedProblems  # asked once, at the end


def split_hard(problems: Sequence[Problem], seed: int, validation_share: float) -> HardSplit:
    """Random halves, train and test (paper); a share of the train half becomes validation.

    Raises:
      SettingsError: too few problems for three non-empty parts.
    """
    order = stream_generator(seed, "hard_split").permutation(len(problems))
    half = len(problems) // 2
    num_validation = round(half * validation_share)
    chosen = [problems[index] for index in order]
    split = HardSplit(
        train=tuple(chosen[num_validation:half]),
        validation=tuple(chosen[:num_validation]),
        test=SealedProblems(chosen[half:]),
    )
    require(
        min(len(split.train), len(split.validation), len(split.test)) > 0,
        f"the hard subset has {len(problems)} problem(s), too few for train, validation and test; raise "
        "hard_subset.num_candidates, or choose harder problems in problems.levels",
    )
    check_disjoint(split)
    return split


def check_disjoint(split: HardSplit) -> None:
    """Refuses parts that share a problem, by id or by normalised question.

    Raises:
      SettingsError: names the problem.
    """
    seen = dict.fromkeys(split.test.marks, "test")
    for part in ("train", "validation"):
        for problem in getattr(split, part):
            for mark in _marks(problem):
                if seen.setdefault(mark, part) != part:
                    raise SettingsError(f"problem {problem.id} is both in hard {seen[mark]} and in hard {part}")


def _marks(problem: Problem) -> tuple[str, str]:
    return problem.id, normalize_question(problem.question)


def cache_key(*parts: object) -> str:
    """A short name for everything that the counts depend on (weights, candidates, sampling)."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def counts_text(key: str, problems: Sequence[Problem], counts: np.ndarray, samples: np.ndarray) -> str:
    """The file that `read_counts` reads: JSON lines, one a candidate with its right answers and samples."""
    rows: list[dict[str, Any]] = [{"key": key, "num_samples": int(samples.max()), "num_candidates": len(problems)}]
    for problem, count, drawn in zip(problems, counts.tolist(), samples.tolist(), strict=True):
        rows.append(dataclasses.asdict(problem) | {"num_correct": count, "num_samples": drawn})
    return "".join(json.dumps(row) + "\n" for row in rows)


def read_counts(path: pathlib.Path, key: str) -> np.ndarray | None:
    """Counts of an earlier start in this workdir; None when there are none under this key, or the file is broken."""
    if not path.exists():
        return None
    try:
        header, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        if header["key"] != key or header["num_candidates"] != len(rows):
            return None
        return np.array([int(row["num_correct"]) for row in rows])
    except (ValueError, KeyError, TypeError):
        return None
