"""The report's tables, rendered by the page and as Markdown and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.evaluation.statistics import Interval, paired_difference
from soar_jax.report import paper
from soar_jax.report.read import Run
from soar_jax.report.scores import Group, comparable, compare, find, scores

Cell = str | float | Interval | None
SWAPS = ("curriculum", "true_answers", "random_answers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells; the first column names the row."""

    name: str  # of its CSV file
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> list[list[str]]:
        """All cells as text."""
        return [[text(cell) for cell in row] for row in self.rows]


def text(cell: Cell) -> str:
    """A cell as text; an interval is `mean [low, high]`."""
    if cell is None:
        return "–"
    if isinstance(cell, Interval):
        return f"{_number(cell.mean)} [{_number(cell.low)}, {_number(cell.high)}]"
    return cell if isinstance(cell, str) else _number(cell)


def markdown(table: Table) -> str:
    """A Markdown table below its title."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.texts()]
    lines = ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join([f"## {_escaped(table.title)}", "", *lines, "", _escaped(table.note), ""])


def to_csv(table: Table) -> str:
    """CSV; an interval takes three columns."""
    has_intervals = [any(isinstance(row[c], Interval) for row in table.rows) for c in range(len(table.columns))]
    columns = list(zip(table.columns, has_intervals, strict=True))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([f"{name}{end}" for name, wide in columns for end in (("", " low", " high") if wide else ("",))])
    for row in table.rows:
        writer.writerow([v for cell, wide in zip(row, has_intervals, strict=True) for v in _csv_values(cell, wide)])
    return file.getvalue()


def headline(groups: Sequence[Group], test: str, ks: Sequence[int]) -> Table:
    """Pass@k and student steps of every method and policy on a test set."""
    rows: list[tuple[Cell, ...]] = []
    for group, policy in _shown(groups):
        passed = [scores(group, policy, test=test, k=k) for k in ks]
        if passed[0] is None:
            continue
        known = paper.MATH.get((group.method, policy)) if test == "hard_test" else None
        rows.append(
            (
                "base model" if policy == "base" else group.row_name(policy),
                str(len(passed[0].by_seed)),
                _student_steps(group, policy),
                *(score.interval() if score else None for score in passed),
                " / ".join("–" if value is None else f"{value:g}" for value in known) if known else None,
            )
        )
    title = {
        "hard_test": "Hard test problems solved within k samples, %",
        "transfer": "Transfer problems (never trained on) solved within k samples, %",
    }
    return Table(
        name=test,
        title=title[test],
        note=(
            "Mean and 95% interval over seeds and problems (hierarchical bootstrap). PS: the promoted student, chosen "
            "on validation. PQ: fresh students trained on the method's questions and on hard train. The paper's "
            "figures are pass@1 / pass@32 on MATH with Llama-3.2-3B-Instruct."
        ),
        columns=("", "seeds", "student steps", *(f"pass@{k}" for k in ks), "paper"),
        rows=tuple(rows),
    )


def compute(groups: Sequence[Group]) -> Table:
    """Cost of the runs, search and final students together; means over seeds."""
    rows: list[tuple[Cell, ...]] = []
    counts = {"outer_steps": 1, "num_promotions": 1, "total_student_steps": 1, "num_sampled_tokens": 1e6, "wall_s": 1}
    for group in groups:
        done = [run.summary for run in group.runs if run.summary]
        if done:
            means = [_average([row[name] / unit for row in done]) for name, unit in counts.items()]
            rows.append((group.name, str(len(done)), *means))
    columns = ("", "seeds", "outer steps", "promotions", "student steps, all", "million tokens sampled", "seconds")
    note = (
        "Means over seeds. Student steps are those of all students of the search and all final students; the table of "
        "results has the steps of one tested student. Tokens are those of the outer loop, of the final students and "
        "their questions, and of the tests."
    )
    return Table(name="compute", title="Total compute", note=note, columns=columns, rows=tuple(rows))


def answer_swap(groups: Sequence[Group], ks: Sequence[int]) -> Table:
    """Fresh students on SOAR's promotion questions with the teacher's, true and random answers (paper: finding 3)."""
    rows: list[tuple[Cell, ...]] = []
    variants = comparable(groups)
    pairs = [(find(alike, "soar_math"), policy) for alike in variants.values() for policy in SWAPS]
    for soar, policy in pairs:
        passed = [scores(soar, policy, test="hard_test", k=k) for k in ks]
        own = scores(soar, "curriculum", test="hard_test", k=ks[0])
        if soar and passed[0] and own:
            compared = compare(passed[0], own, paired_difference) if policy != "curriculum" else None
            name = {"curriculum": "the teacher's", "true_answers": "true", "random_answers": "random"}[policy]
            if len(variants) > 1:
                name = f"{name}, {soar.variant}"
            intervals = [score.interval() if score else None for score in passed]
            rows.append((name, str(len(passed[0].by_seed)), *intervals, compared[2] if compared else None))
    note = "Fresh students on the same promotion questions; only the answers that they are graded by differ."
    columns = ("answers", "seeds", *(f"pass@{k}" for k in ks), f"pass@{ks[0]} minus the teacher's")
    return Table(
        name="answer_swap",
        title="Promotion questions with other answers, hard test, %",
        note=note,
        columns=columns,
        rows=tuple(rows),
    )


def questions(groups: Sequence[Group]) -> Table:
    """Quality and diversity of the final students' questions, by method."""
    rows: list[tuple[Cell, ...]] = []
    for group in groups:
        done = [run.summary["curriculum"] for run in group.runs if run.curriculum and "curriculum" in run.summary]
        if done:
            shares = [_average([100 * row[n] for row in done if row[n] is not None]) for n in _SHARES]
            rows.append((group.name, str(len(done)), *shares, _average([row["vendi"] for row in done])))
    columns = ("", "seeds", "right answers, %", "well posed, %", "distinct, %", "Vendi score")
    note = (
        "Questions that final fresh students were trained on (SeRL's first replica). Paper, SOAR's promotion "
        f"questions: {paper.RIGHT_SHARE}% right, {paper.WELL_POSED_SHARE:g}% well posed. A Vendi score grows with the "
        "number of questions, so compare only sets of one size."
    )
    return Table(
        name="questions", title="Questions of the final students", note=note, columns=columns, rows=tuple(rows)
    )


def run_list(runs: Sequence[Run]) -> Table:
    """All runs with their state, failed ones included."""
    rows = tuple(
        (run.label, run.state, str(len(run.metrics)), "; ".join(run.damage) or None, str(run.workdir)) for run in runs
    )
    return Table(
        name="runs", title="Runs", note="", columns=("", "state", "outer steps", "damage", "workdir"), rows=rows
    )


_SHARES = ("right_share", "well_posed_share", "distinct_share")


def _shown(groups: Sequence[Group]) -> list[tuple[Group, str]]:
    """Rows of the headline: the base model once, then the policies of each method; Hard-Only only where it is run."""
    base = next(((group, "base") for group in groups if "base" in group.policies()), None)
    hidden = {"base", "true_answers", "random_answers"}
    has_hard_only = any(group.method == "hard_only" and group.policies() for group in groups)
    own = [
        (group, policy)
        for group in groups
        for policy in group.policies()
        if policy not in hidden and not (policy == "hard_only" and group.method != "hard_only" and has_hard_only)
    ]
    large = [(g, p) for g in groups for p in g.policies() if p == "hard_only" and g.method == "hard_only_large_group"]
    return [*([base] if base else []), *own, *(pair for pair in large if pair not in own)]


def _student_steps(group: Group, policy: str) -> str:
    steps = sorted({run.results[policy]["student_steps"] for run in group.runs if policy in run.results})
    return str(steps[0]) if len(steps) == 1 else f"{steps[0]}–{steps[-1]}"


def _average(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 0.95 else f"{value:.2f}"


def _escaped(value: str) -> str:
    """Escapes text from models and configs, so that it cannot end a cell or start HTML in Markdown."""
    clean = " ".join(value.split())
    for character, code in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;")):
        clean = clean.replace(character, code)
    return clean


def _csv_values(cell: Cell, wide: bool) -> list[Any]:
    """Values of a cell in a column with (`wide`) or without intervals."""
    if isinstance(cell, Interval):
        return [cell.mean, cell.low, cell.high]
    value: Any = "" if cell is None else cell
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        value = f"'{value}"  # spreadsheets would evaluate it as a formula
    return [value, "", ""] if wide else [value]
