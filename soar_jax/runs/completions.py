"""Sampled completions as JSON lines: nothing is lost by a kill, and the file has its name only when it is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from soar_jax.evaluation.evaluator import Answer
from soar_jax.storage.records import JsonLines, rename
from soar_jax.types import Problem


class CompletionFile:
    """A row a sample, problem by problem; `.partial` stands behind its name until `finish`."""

    def __init__(self, path: epath.Path, num_samples: int) -> None:
        """Reads what an earlier start has left, and cuts it back to whole problems."""
        self._path, self._num_samples = path, num_samples
        self._lines = JsonLines(path.with_name(path.name + ".partial"))
        if path.exists() and not self._lines.path.exists():  # an earlier start ended before it used the whole file
            rename(path, self._lines.path)
        self.verdicts: list[list[str]] = []  # of each problem answered so far
        self._lines.cut(self._read())

    def _read(self) -> int:
        """Bytes of the problems whose samples are all there."""
        if not self._lines.path.exists():
            return 0
        size = whole = 0
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
                    whole, verdicts = size, []
        return whole

    def add(self, problems: Sequence[Problem], answers: Sequence[Sequence[Answer]]) -> None:
        """All samples of the next problems, on disk when this returns."""
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
        """Gives the file its name."""
        rename(self._lines.path, self._path)


def _row(line: bytes) -> dict[str, Any] | None:
    """A whole row; None of one that was being written."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and "verdict" in row else None
