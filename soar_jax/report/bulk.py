"""Many rows for the page: columns, each string once, compressed."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

from soar_jax.report.read import Run
from soar_jax.report.scores import POLICY_NAMES

_QUESTION_STRINGS = ("question", "answer", "true_answer", "subject")


def pack(value: Any) -> str:
    """JSON, gzip, base64: what the page's script unpacks."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode()


def questions(runs: Sequence[Run]) -> dict[str, Any]:
    """All questions of the outer loops and of the final students as columns; strings by their place in a list."""
    table = _Strings()
    columns: dict[str, list[Any]] = {name: [] for name in ("run", *_QUESTION_COLUMNS)}
    for number, run in enumerate(runs):
        for row in run.ledger:
            place = {"run": number, "step": row["outer_step"] + 1, "dataset": row.get("dataset")}
            _append(columns, place | _question(row, table))
        for row in run.curriculum:
            place = {"run": number, "step": None, "dataset": row.get("stage")}
            _append(columns, place | _question(row, table))
    return {"strings": table.strings, "runs": [run.label for run in runs], "columns": columns}


def problems(runs: Sequence[Run]) -> dict[str, Any]:
    """Per-problem results of every policy of every run as columns."""
    table = _Strings()
    columns: dict[str, list[Any]] = {name: [] for name in ("run", *_PROBLEM_COLUMNS)}
    for number, run in enumerate(runs):
        for policy, result in run.results.items():
            for test, counts in result.get("tests", {}).items():
                per_problem = zip(counts["ids"], zip(*counts["num_correct"], strict=True), strict=True)
                for name, correct in per_problem:
                    problem = run.problems.get(name, {})
                    row = {
                        "run": number,
                        "policy": table.place(POLICY_NAMES.get(policy, policy)),
                        "test": table.place(test),
                        "question": table.place(problem.get("question", name)),
                        "answer": table.place(problem.get("answer")),
                        "level": problem.get("level"),
                        "solved": round(100 * sum(correct) / (counts["num_samples"] * len(correct)), 1),
                    }
                    _append(columns, row)
    return {"strings": table.strings, "runs": [run.label for run in runs], "columns": columns}


_QUESTION_COLUMNS = (
    "step",
    "dataset",
    *_QUESTION_STRINGS,
    "level",
    "right",
    "well_posed",
    "solve_rate",
    "reward",
    "promoted",
)
_PROBLEM_COLUMNS = ("policy", "test", "question", "answer", "level", "solved")


class _Strings:
    """Each string once."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: Any) -> int | None:
        if text is None:
            return None
        text = str(text)
        if text not in self._places:
            self._places[text] = len(self.strings)
            self.strings.append(text)
        return self._places[text]


def _question(row: dict[str, Any], table: _Strings) -> dict[str, Any]:
    solve_rate, reward = row.get("solve_rate"), row.get("reward")
    return {name: table.place(row.get(name)) for name in _QUESTION_STRINGS} | {
        "level": row.get("level"),
        "right": _digit(row.get("right")),
        "well_posed": _digit(row.get("well_posed")),
        "solve_rate": None if solve_rate is None else round(solve_rate, 2),
        "reward": None if reward is None else round(reward, 4),
        "promoted": row.get("promoted"),
    }


def _digit(value: Any) -> int | None:
    return None if value is None else int(bool(value))


def _append(columns: dict[str, list[Any]], row: dict[str, Any]) -> None:
    for name, column in columns.items():
        column.append(row[name])
