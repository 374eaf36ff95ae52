"""Writes benchmarks/RESULTS.md from results.jsonl: `python benchmarks/results.py`.

The page has the newest rows of the tables that `SHOWN` names. `--all` prints every row of the file as tables instead.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # for running this file by its path

from benchmarks.interleave import shown
from benchmarks.report import FOLDER, markdown_table
from soar_jax.evaluation.statistics import MeanInterval
from soar_jax.report import tables

Row = dict[str, Any]
Key = tuple[str, str]  # suite, and title without its figures

STUDY = "study"  # the suite whose rows benchmarks/record_study.py adds
HARD_TEST = "hard test problems solved within k samples, %"  # end of a study's title, behind its scale
NOT_COLUMNS = ("suite", "table", "command", "environment")
HEAD = """# Results

Made by `python benchmarks/results.py` from `results.jsonl`: the newest rows of each table. Times and rates are
medians over rounds. x is the median of the ratio within each round, which can differ from the ratio of two medians.
Load is that at the start: above 0, other work shared the cores.

PS: the promoted student. PQ: fresh students trained on the method's questions and on hard train. Methods that start
from a finished run of SOAR repeat its PS and its trained teacher. The base model has five seeds; over ten its pass@32
is 0.1. The newest study is in [nano_study.md](nano_study.md) with all its tables, older records are in
[HISTORY.md](HISTORY.md)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A section of the page: the tables of a suite as one, or those whose titles contain `only`."""

    suite: str
    title: str
    columns: tuple[str, ...]
    only: str = ""


SHOWN = (
    Shown(
        suite=STUDY,
        title="Hard test problems solved, %: mean [95% interval]",
        columns=("row", "seeds", "pass@1", "pass@32"),
    ),
    Shown(
        suite="sampler",
        title="Sampling: tokens/s against transformers and Tunix",
        columns=("batch", "new tokens", "soar_jax", "generate", "tunix", "x generate", "x tunix"),
    ),
    Shown(
        suite="rl_step",
        title="An RL step against TRL (torch) and Tunix, s; x is the ratio to the faster layout of soar_jax",
        columns=("side", "sampling_s", "update_s", "step_s", "x step_s"),
    ),
    Shown(
        suite="population",
        title="Students as one program, and one after another, s",
        columns=(
            *("students", "one program", "one after another, one device"),
            *("one after another, rows sharded", "x"),
        ),
        only="inner steps",
    ),
    Shown(suite="outer_step", title="Phases of an outer step", columns=("phase", "s", "share, %", "devices idle, %")),
    Shown(suite="grading", title="Grading against math-verify", columns=("side", "pairs/s", "right, %", "x")),
    Shown(
        suite="roofline",
        title="Shares of the roofline",
        columns=("phase", "s", "Gflop/s", "GB/s", "of the roofline, %"),
        only="nano: shares",
    ),
    Shown(
        suite="int8_cache",
        title="Int8 cache: rate, and differences of log-probabilities in nats a token",
        columns=("model", "cache", "tokens/s", "x whole cache", "mean of magnitudes", "largest"),
        only="nano",
    ),
    Shown(
        suite="start",
        title="From the command to the end of the first outer step, s",
        columns=("compile cache", "imports and model", "finding hard problems", "first outer step", "in all"),
        only="nano: s",
    ),
    Shown(
        suite="gpu",
        title="One GPU",
        columns=(
            *("GB/s copied", "Tflop/s bfloat16", "phase", "s", "tokens/s of both", "x generate"),
            *("of the roofline, %", "MFU, %", "sampled tokens/s", "failed", "left out"),
        ),
    ),
)


def read(folder: pathlib.Path = FOLDER) -> list[Row]:
    """Reads the rows of results.jsonl, oldest first."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text("utf-8").splitlines()]


def newest(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Returns the rows of the newest run of each table; of a study, the newest row of each name."""
    by_table: dict[Key, list[Row]] = {}
    for row in rows:
        by_table.setdefault((row["suite"], _without_figures(row["table"])), []).append(row)
    return {key: _newest(found) for key, found in by_table.items()}


def _without_figures(title: str) -> str:
    """Cuts a title at the first digit behind its colon: sizes, or what was measured."""
    name, colon, rest = title.partition(":")
    return name + colon + re.split(r"\d", rest)[0]


def _newest(rows: Sequence[Row]) -> list[Row]:
    by_date = sorted(rows, key=lambda row: row["environment"]["date"])
    if rows[0]["suite"] == STUDY:
        return list({row["row"]: row for row in by_date}.values())
    return [row for row in rows if row["environment"] == by_date[-1]["environment"]]


def interval(measured: Row, num_seeds: int) -> MeanInterval:
    """Makes an interval of the value of a study's column such as `pass@1`."""
    return MeanInterval(mean=measured["mean"], low=measured["low"], high=measured["high"], num_seeds=num_seeds)


def page(rows: Sequence[Row]) -> str:
    """Formats the newest rows of the tables that `SHOWN` names, and counts the tables that are left out."""
    left = newest(rows)
    parts = [HEAD]
    for entry in SHOWN:
        keys = [key for key, found in left.items() if key[0] == entry.suite and entry.only in found[0]["table"]]
        if keys:
            parts.append(section(entry, [left.pop(key) for key in keys]))
    counts = collections.Counter(suite for suite, _ in left)
    if counts:
        names = ", ".join(f"{suite} ({count})" for suite, count in sorted(counts.items()))
        parts.append(f"Tables that only `python benchmarks/results.py --all` shows: {names}.")
    return "\n\n".join(parts) + "\n"


def section(entry: Shown, found: Sequence[Sequence[Row]]) -> str:
    """Formats tables as one below their runs; of several tables, a first column has the start of their titles."""
    rows = [row for table in found for row in table]
    named = [row | {"table": re.split("[:,]", row["table"])[0]} for row in rows]
    columns = [name for name in entry.columns if any(name in row for row in rows)]
    table = _table([*["table"] * (len(found) > 1), *columns], named)
    return f"## {entry.title}\n\n{_runs(rows)}\n\n{table}"


def everything(rows: Sequence[Row]) -> str:
    """Formats every row, as a table for each table of each run."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row["suite"], row["table"], _run(row)), []).append(row)
    parts = []
    for (suite, title, run), table in found.items():
        columns = dict.fromkeys(name for row in table for name in row if name not in NOT_COLUMNS)
        parts.append(f"## {suite}: {title}\n\n{run}\n\n{_table(list(columns), table)}\n")
    return "\n".join(parts)


def _table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    return markdown_table(columns, ([_cell(row.get(name)) for name in columns] for row in rows))


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return tables.text(interval(value, num_seeds=0))
    return "–" if value is None else shown(value)


def _runs(rows: Sequence[Row]) -> str:
    """Lists the runs that rows come from, each behind the titles of its tables."""
    titles: dict[str, dict[str, None]] = {}
    for row in rows:
        titles.setdefault(_run(row), {})[row["table"]] = None
    return "\n".join(f"- {'; '.join(tables_of)}: {run}" for run, tables_of in titles.items())


def _run(row: Row) -> str:
    """Describes a run: command, date, CPU, and the commit and load where they are known."""
    facts = row["environment"]
    more = [f"commit {facts['commit']}"] if facts.get("commit") else []
    more += [f"load {facts['load_1min']} on {facts['cores']} cores"] if "load_1min" in facts else []
    return ", ".join([f"`{row['command']}`", facts["date"], facts["cpu"], *more])


def write(folder: pathlib.Path = FOLDER) -> None:
    """Writes RESULTS.md from results.jsonl."""
    (folder / "RESULTS.md").write_text(page(read(folder)), "utf-8")


def main() -> None:
    """Writes the page, or prints every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="print every row of results.jsonl; write nothing")
    if parser.parse_args().all:
        print(everything(read()), end="")
    else:
        write()


if __name__ == "__main__":
    main()
