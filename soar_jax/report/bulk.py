"""Questions, completions and per-problem results for the page's browsers: columns with interned strings, compressed."""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Callable, Sequence
from typing import Any

from soar_jax.integers import ceil_div
from soar_jax.report.read import Run
from soar_jax.report.scores import POLICY_NAMES

MAX_ROWS, MAX_BYTES = 100_000, 6 * 2**20  # of the questions of a page
MAX_COMPLETION_BYTES = 3 * 2**20  # of the completions of a page
_QUESTION_STRINGS = ("question", "answer", "true_answer", "subject")
_COMPLETION_STRINGS = ("question", "completion", "answer", "reference_answer", "verdict")


def pack(value: Any) -> str:
    """Encodes a value as base64 of gzipped JSON; `unpack` in page.js reads it."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode()


def packed_questions(runs: Sequence[Run], max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> tuple[str, str]:
    """Packs the questions of runs; where they are too many, those of some outer steps, evenly spread.

    Questions of promoted datasets and of final students are always among them.

    Returns:
      What `unpack` reads, and a sentence on what is left out; empty if nothing is.
    """
    total = sum(len(run.ledger) + len(run.curriculum) for run in runs)
    packed, stride = _pack_within(
        functools.partial(questions, runs), runs, stride=ceil_div(total, max_rows), max_bytes=max_bytes
    )
    note = (
        f"Of {total:,} questions, here are those of promoted datasets, of final students, and of one in {stride} outer "
        "steps. The files `ledger.jsonl` of the workdirs have all."
    )
    return packed, note if stride > 1 else ""


def packed_completions(runs: Sequence[Run], max_bytes: int = MAX_COMPLETION_BYTES) -> tuple[str, str]:
    """Packs the students' completions that runs have kept; where they are too many, those of some outer steps.

    Returns:
      What `unpack` reads, and a sentence on what is left out; empty if nothing is.
    """
    packed, stride = _pack_within(functools.partial(completions, runs), runs, stride=1, max_bytes=max_bytes)
    note = f"Only one in {stride} outer steps is here. `completions.jsonl` in each workdir has all."
    return packed, note if stride > 1 else ""


def _pack_within(
    select: Callable[[int], dict[str, Any]], runs: Sequence[Run], *, stride: int, max_bytes: int
) -> tuple[str, int]:
    """Packs what `select` takes of every `stride`-th outer step, doubling the stride until it is small enough.

    Returns:
      What `unpack` reads, and the stride.
    """
    last = max((row["outer_step"] for run in runs for row in run.ledger), default=0)
    stride = max(1, stride)
    packed = pack(select(stride))
    while len(packed) > max_bytes and stride <= last:
        stride *= 2
        packed = pack(select(stride))
    return packed, stride


def questions(runs: Sequence[Run], stride: int = 1) -> dict[str, Any]:
    """Columns of the questions of every `stride`-th outer step, of promoted datasets and of the final students.

    Strings are indices into `strings`.
    """
    table = _StringTable()
    rows = []
    for number, run in enumerate(runs):
        for row in run.ledger:
            if row["outer_step"] % stride == 0 or row.get("promoted"):
                rows.append((number, row["outer_step"] + 1, row.get("dataset"), *_question(row, table)))
        for row in run.curriculum:
            rows.append((number, None, row.get("stage"), *_question(row, table)))
    return _columns(runs, table, names=_QUESTION_COLUMNS, rows=rows)


def completions(runs: Sequence[Run], stride: int = 1) -> dict[str, Any]:
    """Columns of the kept completions of every `stride`-th outer step."""
    table = _StringTable()
    rows = [
        (
            number,
            row["outer_step"] + 1,
            *(table.index(row.get(name)) for name in _COMPLETION_STRINGS),
            *(None if row.get(name) is None else round(row[name], 3) for name in ("reward", "advantage")),
            *(row[name] for name in ("dataset", "student")),
            row["student_step"] + 1,
        )
        for number, run in enumerate(runs)
        for row in run.completions
        if row["outer_step"] % stride == 0
    ]
    return _columns(runs, table, names=_COMPLETION_COLUMNS, rows=rows)


def problems(runs: Sequence[Run]) -> dict[str, Any]:
    """Columns of the per-problem results of every policy of every run."""
    table = _StringTable()
    rows = []
    for number, run in enumerate(runs):
        for policy, result in run.results.items():
            for test, counts in result.get("tests", {}).items():
                per_replica = zip(*counts["num_correct"], strict=True)
                for name, correct in zip(counts["ids"], per_replica, strict=True):
                    problem = run.problems.get(name, {})
                    texts = (
                        POLICY_NAMES.get(policy, policy),
                        test,
                        problem.get("question", name),
                        problem.get("answer"),
                    )
                    solved = round(100 * sum(correct) / (counts["num_samples"] * len(correct)), 1)
                    rows.append((number, *map(table.index, texts), problem.get("level"), solved))
    return _columns(runs, table, names=_PROBLEM_COLUMNS, rows=rows)


_QUESTION_COLUMNS = (
    "run",
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
_COMPLETION_COLUMNS = (
    "run",
    "step",
    *_COMPLETION_STRINGS,
    "reward",
    "advantage",
    "dataset",
    "student",
    "student_step",
)
_PROBLEM_COLUMNS = ("run", "policy", "test", "question", "answer", "level", "solved")


class _StringTable:
    """Interns strings as indices."""

    def __init__(self) -> None:
        self.indices: dict[str, int] = {}

    def index(self, text: Any) -> int | None:
        return None if text is None else self.indices.setdefault(str(text), len(self.indices))


def _question(row: dict[str, Any], table: _StringTable) -> list[Any]:
    """Values of the columns from `question` on."""
    solve_rate, reward = row.get("solve_rate"), row.get("reward")
    return [
        *(table.index(row.get(name)) for name in _QUESTION_STRINGS),
        row.get("level"),
        *(None if row.get(name) is None else int(bool(row[name])) for name in ("right", "well_posed")),
        None if solve_rate is None else round(solve_rate, 2),
        None if reward is None else round(reward, 4),
        row.get("promoted"),
    ]


def _columns(
    runs: Sequence[Run], table: _StringTable, *, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    columns = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    return {"strings": list(table.indices), "runs": [run.label for run in runs], "columns": columns}
