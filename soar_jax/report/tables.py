"""The report's tables, rendered by the page and as Markdown and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.evaluation.quality import ERROR_CLASSES
from soar_jax.evaluation.statistics import MeanInterval, paired_difference
from soar_jax.problems.paper_pools import POOLS
from soar_jax.report import costs, paper
from soar_jax.report.read import Run
from soar_jax.report.scores import Group, Scores, comparable, compare, find, scores

Cell = str | float | MeanInterval | None
SWAPS = ("curriculum", "true_answers", "random_answers")
AVERAGED_STEPS = 3  # outer steps of the moving average of rewards, as in the paper's figure


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
    """A cell as text; an interval is `mean ± SD [low, high]`, without the SD where it is unknown."""
    if cell is None:
        return "–"
    if isinstance(cell, MeanInterval):
        spread = "" if cell.sd is None else f" ± {number(cell.sd)}"
        return f"{number(cell.mean)}{spread} [{number(cell.low)}, {number(cell.high)}]"
    return cell if isinstance(cell, str) else number(cell)


def markdown(table: Table) -> str:
    """A Markdown table below its title."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.texts()]
    lines = ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join([f"## {_escaped(table.title)}", "", *lines, "", _escaped(table.note), ""])


def to_csv(table: Table) -> str:
    """CSV; an interval takes four columns: mean, low, high and SD."""
    has_intervals = [any(isinstance(row[c], MeanInterval) for row in table.rows) for c in range(len(table.columns))]
    columns = list(zip(table.columns, has_intervals, strict=True))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    ends = ("", " low", " high", " SD")
    writer.writerow([f"{name}{end}" for name, wide in columns for end in (ends if wide else ends[:1])])
    for row in table.rows:
        writer.writerow([v for cell, wide in zip(row, has_intervals, strict=True) for v in _csv_values(cell, wide)])
    return file.getvalue()


def headline(groups: Sequence[Group], test: str, ks: Sequence[int]) -> Table:
    """Pass@k, student steps and compute of every method and policy on a test set, beside the paper's figures."""
    rows: list[tuple[Cell, ...]] = []
    has_paper = test == "hard_test"
    for group, policy in headline_policies(groups):
        passed = [scores(group, policy, test=test, k=k) for k in ks]
        if passed[0] is None:
            continue
        rows += _rows_on_the_way(group, policy, ks) if has_paper else []
        measured = [score.interval() if score else None for score in passed]
        known = [_paper_cell(group, policy, steps=_steps(group, policy)[-1], ks=ks)] if has_paper else []
        counts = (str(len(passed[0].by_seed)), steps_text(group, policy), _solved(passed[0]))
        rows.append((policy_name(group, policy), *measured, *known, *counts, *_costs(group, policy)))
    title = {
        "hard_test": "Hard test problems solved within k samples, %",
        "transfer": "Transfer problems (never trained on) solved within k samples, %",
    }
    paper_column = ("paper",) if has_paper else ()
    counted = ("seeds", "student steps", "ever solved")
    columns = ("", *(f"pass@{k}" for k in ks), *paper_column, *counted, *costs.COLUMNS)
    return Table(name=test, title=title[test], note=_HEADLINE_NOTE, columns=columns, rows=tuple(rows))


def headline_policies(groups: Sequence[Group]) -> list[tuple[Group, str]]:
    """Lists the base model, then the policies of each method.

    Hard-Only students of another method are left out where Hard-Only itself was run, and so are those on other answers.
    """
    base = next(((group, "base") for group in groups if "base" in group.policies()), None)
    hidden = {"base", "true_answers", "random_answers"}
    has_hard_only = any(group.method == "hard_only" and group.policies() for group in groups)
    own = [
        (group, policy)
        for group in groups
        for policy in group.policies()
        if policy not in hidden
        and not (policy == "hard_only" and has_hard_only and not group.method.startswith("hard_only"))
    ]
    return [*([base] if base else []), *own]


def policy_name(group: Group, policy: str) -> str:
    """Returns the name of a policy's row."""
    return "base model" if policy == "base" else group.row_name(policy)


def steps_text(group: Group, policy: str) -> str:
    """Returns the student steps of a policy's tests: a number, or the least and the most as in 20–30."""
    steps = _steps(group, policy)
    return str(steps[0]) if len(steps) == 1 else f"{steps[0]}–{steps[-1]}"


def compute(groups: Sequence[Group]) -> Table:
    """Cost of the runs, search and final students together; means over seeds."""
    rows: list[tuple[Cell, ...]] = []
    counts = ("outer_steps", "num_promotions", "total_student_steps", "wall_s")
    for group in groups:
        done = [run.summary for run in group.runs if run.summary]
        if done:
            means = [_average([row[name] for row in done]) for name in counts]
            kinds = sorted({f"{row['num_devices']} × {row['device_kind']}" for row in done if "num_devices" in row})
            spent = _means([costs.run_cost(row) for row in done])
            rows.append((group.name, str(len(done)), *means, *spent, ", ".join(kinds) or None))
    columns = ("", "seeds", "outer steps", "promotions", "student steps, all", "seconds", *costs.COLUMNS, "devices")
    least, most = paper.SEARCH_GPU_HOURS
    note = (
        "Means over seeds. Student steps are those of all students of the search and all final students; the table of "
        "results has the steps of one tested student. Tokens and FLOPs are those of the outer loop, of the final "
        "students and their questions, and of the tests; FLOPs are those that the model needs, without recomputation. "
        f"Paper: {least:,} to {most:,} GPU-hours (H100, H200) a search, and {paper.STUDENT_GPU_HOURS} a fresh student."
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
    """Quality and diversity of the final students' questions, by method, beside the paper's."""
    rows: list[tuple[Cell, ...]] = []
    done = [
        (group, [run.summary["curriculum"] for run in group.runs if run.curriculum and "curriculum" in run.summary])
        for group in groups
    ]
    # Only a judge that reads questions gives classes.
    has_classes = any(row.get("error_classes") for _, found in done for row in found)
    classes = ERROR_CLASSES[1:] if has_classes else ()
    for group, found in done:
        if found:
            rows.append((group.name, str(len(found)), *_question_cells(found, classes), _paper_questions(group)))
    note = (
        "Questions that final fresh students were trained on (SeRL's first replica). Means over seeds. A Vendi score "
        "grows with the number of questions, so compare only sets of one size: `analysis.vendi_size` brings all sets "
        "to one by bootstrap draws, over which the SD is. Errors, as a judge behind an endpoint classes them: a wrong "
        "calculation, wrong logic, an impossible question, an ambiguous one."
    )
    columns = (
        *("", "seeds", "right answers, %", "well posed, %", "distinct, %"),
        *(f"{name.replace('_', '-')}, %" for name in classes),
        *("Vendi score", "its SD", "cosine distance", "of questions", "paper"),
    )
    return Table(
        name="questions", title="Questions of the final students", note=note, columns=columns, rows=tuple(rows)
    )


def subsets(groups: Sequence[Group]) -> Table:
    """Sizes of the hard subsets, beside the paper's."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in (run for group in groups for run in group.runs if run.summary.get("hard_subset")):
        problems, model = run.config.get("problems", {}), run.config.get("model", {})
        name = str(problems.get("source", "")), str(model.get("source", ""))
        found.setdefault(name, []).append(run.summary["hard_subset"])
    sizes = ("num_candidates", "train", "validation", "test")
    rows = []
    for (source, model), subset in found.items():
        known = POOLS.get(source)
        means = [_average([row[size] for row in subset]) for size in sizes]
        rows.append((source, model, *means, " / ".join(f"{size:,}" for size in known) if known else None))
    note = "Problems that the base model never solves; means over runs. Paper: candidates / train / test."
    columns = ("problems", "model", "candidates", "train", "validation", "test", "paper")
    return Table(name="subsets", title="Hard subsets", note=note, columns=columns, rows=tuple(rows))


def dynamics(groups: Sequence[Group]) -> Table:
    """Rewards and promotions of the outer loop (paper: appendix E)."""
    rows: list[tuple[Cell, ...]] = []
    for group in groups:
        runs = [run for run in group.runs if run.metrics and all("mean_reward" in row for row in run.metrics)]
        if runs:
            averages = [moving_average([row["mean_reward"] for row in run.metrics]) for run in runs]
            promoted = [[row["outer_step"] + 1 for row in run.metrics if row["promoted"]] for run in runs]
            rows.append(
                (
                    group.name,
                    str(len(runs)),
                    100 * min(map(min, averages)),
                    100 * max(map(max, averages)),
                    _average([len(steps) for steps in promoted]),
                    _average([steps[0] for steps in promoted if steps]),
                    _average([100 * run.metrics[-1]["validation_accuracy"] for run in runs]),
                )
            )
    (least, most), rises = paper.STEP_REWARDS, [f"{first} to {last}" for first, last in paper.RISES]
    note = (
        f"Least and greatest mean reward of {AVERAGED_STEPS} steps, over all seeds; else means over seeds. Paper, one "
        f"run on HARP: {100 * least:g} to {100 * most:g}; promotions end rises in steps {' and '.join(rises)}; the "
        f"last baseline student solves about {paper.BASELINE_ACCURACY:g}% of hard train."
    )
    columns = ("", "seeds", "least reward × 100", "greatest", "promotions", "first at step", "last baseline student, %")
    return Table(name="dynamics", title="Outer loop", note=note, columns=columns, rows=tuple(rows))


def run_list(runs: Sequence[Run]) -> Table:
    """All runs with their state, failed ones included."""
    rows = tuple(
        (run.label, run.state, str(len(run.metrics)), "; ".join(run.damage) or None, str(run.workdir)) for run in runs
    )
    return Table(
        name="runs", title="Runs", note="", columns=("", "state", "outer steps", "damage", "workdir"), rows=rows
    )


_HEADLINE_NOTE = (
    "Mean ± SD over the students of all seeds [95% interval over seeds and problems, hierarchical bootstrap]. A seed "
    "has a teacher of its own, and its students differ in their draws. PS: the promoted student. PQ: fresh students "
    "trained on the method's questions and on hard train. Ever solved: problems that any sample of any student "
    "solved, mean over seeds; more students solve more. Compute: training and tests of the policy, and the search "
    "that it comes from; means over seeds; 1 PFLOP is 1e15 FLOPs. Paper: mean (SD) at the same k on the same "
    "benchmark, or on MATH where the paper does not have it."
)
_SHARES = ("right_share", "well_posed_share", "distinct_share")
_DIVERSITY = ("vendi", "vendi_sd", "cosine_distance")


def _steps(group: Group, policy: str) -> list[int]:
    """Student steps of all tests that a policy's figures are made of."""
    results = [run.results[policy] for run in group.runs if policy in run.results]
    return sorted({steps for result in results for steps in result.get("tested_at", [result["student_steps"]])})


def _rows_on_the_way(group: Group, policy: str, ks: Sequence[int]) -> list[tuple[Cell, ...]]:
    """Rows of SeRL's hard tests on the way at the steps that the paper reports; of means over seeds alone."""
    rows: list[tuple[Cell, ...]] = []
    for steps in paper.SERL_STEPS if policy == "self_play" else ():
        points = [
            point["tests"]["hard_test"]
            for run in group.runs
            for point in run.results.get(policy, {}).get("curve", ())
            if point["student_steps"] == steps and "hard_test" in point.get("tests", {})
        ]
        if points and _steps(group, policy) != [steps]:
            passed = [_average([100 * row[f"pass@{k}"] for row in points if f"pass@{k}" in row]) for k in ks]
            name = f"{group.row_name(policy)}, on the way"
            unknown = [None] * (1 + len(costs.COLUMNS))
            cell = _paper_cell(group, policy, steps=steps, ks=ks)
            rows.append((name, *passed, cell, str(len(points)), str(steps), *unknown))
    return rows


def _solved(passed: Scores) -> str:
    """Problems that were ever solved, of all, as means over seeds."""
    solved, all_problems = np.mean([*passed.num_solved.values()]), np.mean([len(ids) for ids in passed.ids.values()])
    return f"{round(solved, 1):g} of {round(all_problems, 1):g}"


def _costs(group: Group, policy: str) -> list[Cell]:
    return _means([costs.policy_cost(run, policy) for run in group.runs if policy in run.results])


def _means(rows: Sequence[np.ndarray]) -> list[Cell]:
    """Means of the columns; None where a row does not know its own."""
    return [None if np.isnan(value) else float(value) for value in np.mean(rows, axis=0)]


def _paper_cell(group: Group, policy: str, steps: int, ks: Sequence[int]) -> str | None:
    """The paper's figures at the same ks, as `mean (SD)`."""
    run = group.runs[0]
    known = paper.results(group.method, policy, config=run.config, source=run.source.config, steps=steps)
    if known is None:
        return None
    return " / ".join(f"{known[k].mean:.1f} ({known[k].sd:.1f})" if k in known else "–" for k in ks)


def _question_cells(found: Sequence[dict[str, Any]], classes: Sequence[str]) -> list[Cell]:
    """Means of the runs' analyses of their questions, and the number of questions of a Vendi score."""
    shares = [_average([100 * row[name] for row in found if row[name] is not None]) for name in _SHARES]
    errors = [row["error_classes"] for row in found if row.get("error_classes")]
    by_class = [_average([100 * row.get(name, 0) for row in errors]) for name in classes]
    diversity = [_average([row[name] for row in found if row.get(name) is not None]) for name in _DIVERSITY]
    sizes = sorted({row["vendi_size"] for row in found if "vendi_size" in row})
    size = "–".join(map(str, dict.fromkeys((sizes[0], sizes[-1])))) if sizes else None
    return [*shares, *by_class, *diversity, size]


def _paper_questions(group: Group) -> str | None:
    """The paper's figures of a method's questions."""
    method = "soar_math" if group.method == "promotion_questions" else group.method
    judged = paper.QUESTIONS.get((method, "curriculum"))
    if judged is None:
        return None
    values = {name: value for name, value in dataclasses.asdict(judged).items() if name != "num_questions"}
    shares = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())
    return f"{shares}; Vendi {paper.vendi_text(method)}"


def moving_average(values: Sequence[float]) -> list[float]:
    """Means of `AVERAGED_STEPS` values in a row; of all where there are fewer."""
    width = min(AVERAGED_STEPS, len(values))
    return [float(np.mean(values[end - width : end])) for end in range(width, len(values) + 1)]


def _average(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def number(value: float) -> str:
    """A number as text, with the digits that its size deserves."""
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
    if isinstance(cell, MeanInterval):
        return [cell.mean, cell.low, cell.high, "" if cell.sd is None else cell.sd]
    value: Any = "" if cell is None else cell
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        value = f"'{value}"  # spreadsheets would evaluate it as a formula
    return [value, "", "", ""] if wide else [value]
