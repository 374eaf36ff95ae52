"""Sampled completions as JSON lines, resumable after a kill; the file has a temporary name until it is complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from soar_jax.evaluation.evaluator import Answer
from soar_jax.storage.records import JsonLines, rename
from soar_jax.types import Problem


class CompletionFile:
    """One row per sample, problem by problem; `.partial` is appended to the name until `finish`."""

    def __init__(self, path: epath.Path, num_samples: int) -> None:
        """Reads the rows of an earlier start, and truncates them to complete problems."""
        self._path, self._num_samples = path, num_samples
        self._lines = JsonLines(path.with_name(path.name + ".partial"))
        if path.exists() and not self._lines.path.exists():  # an earlier start ended right after `finish`
            rename(path, self._lines.path)
        self.verdicts: list[list[str]] = []  # [problems so far][samples]
        self._lines.truncate(self._read())

    def _read(self) -> int:
        """Reads the verdicts of complete problems, and returns their size in bytes."""
        if not self._lines.path.exists():
            return 0
        size = complete = 0
        verdicts: list[str] = []
        with self._lines.path.open("rb") as file:
            for line in file:
                row = _row(line)
                if row is None:
                    break
                size += len(line)
                verdicts.append(row["verdict"])
                if len(verdicts) == self._num_samples:
                    self.verdicts.append(verdicts)
                    complete, verdicts = size, []
        return complete

    def add(self, problems: Sequence[Problem], answers: Sequence[Sequence[Answer]]) -> None:
        """Appends all samples of the next problems, on disk when this returns."""
        self._lines.append(
            {
                "id": problem.id,
                "sample": number,
                "completion": answer.completion,
                "answer": answer.final,
                "verdict": answer.verdict.value,
            }
            for problem, drawn in zip(problems, answers, strict=True)
            for number, answer in enumerate(drawn)
        )
        self.verdicts += [[answer.verdict.value for answer in drawn] for drawn in answers]

    def finish(self) -> None:
        """Renames the file to its final name."""
        rename(self._lines.path, self._path)


def _row(line: bytes) -> dict[str, Any] | None:
    """Parses a row; None if it is incomplete."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and "verdict" in row else None
