"""Writes the report: an HTML page, and its tables as Markdown and CSV."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from soar_jax.evaluation.statistics import MeanInterval
from soar_jax.report import bulk, charts, comparisons, figures, findings, tables
from soar_jax.report.comparisons import MeansChart
from soar_jax.report.findings import Finding
from soar_jax.report.read import Run, read_runs
from soar_jax.report.scores import Group, ends, group_runs
from soar_jax.report.tables import Table
from soar_jax.storage.records import replace_text

HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """A finding and the chart beside it."""

    finding: Finding
    chart: MeansChart

    @property
    def is_shown(self) -> bool:
        """Whether several seeds speak to the finding."""
        return bool(self.finding.sentences) and self.chart.has_seeds


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportData:
    """What is known of the runs."""

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    ks: tuple[int, ...]
    tables: dict[str, Table]  # by name
    evidence: tuple[Evidence, ...]

    @property
    def shown(self) -> list[Evidence]:
        return [each for each in self.evidence if each.is_shown]

    @property
    def left_out(self) -> str:
        """Sentence on the findings that are not shown; may be empty."""
        names = [each.finding.title.partition(":")[0] for each in self.evidence if not each.is_shown]
        return f"Not judged without several seeds of their methods: {'; '.join(names)}." if names else ""


def write(folders: Sequence[pathlib.Path], out: pathlib.Path) -> None:
    """Writes the page about all runs in `folders`, and next to it one `.md` file and one `.csv` file per table.

    Raises:
      SettingsError: a folder has no run.
    """
    report = _load(folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_text(out, _page(report, version=""))
    replace_text(out.with_suffix(".md"), _markdown(report))
    for table in report.tables.values():
        replace_text(out.with_name(f"{out.stem}_{table.name}.csv"), tables.to_csv(table))


def live_page(folders: Sequence[pathlib.Path], version: str) -> str:
    """The page, with a script that reloads it when the server has a newer version.

    Raises:
      SettingsError: a folder has no run.
    """
    return _page(_load(folders), version=version)


def _load(folders: Sequence[pathlib.Path]) -> ReportData:
    """Reads the runs in folders, and makes their tables and findings."""
    runs = read_runs(folders)
    groups = group_runs(runs)
    ks = _common_ks(runs)
    made = (
        tables.headline(groups, "hard_test", ks),
        tables.headline(groups, "transfer", ks),
        tables.compute(groups),
        tables.answer_swap(groups, ends(ks)),
        tables.questions(groups),
        tables.dynamics(groups),
        tables.subsets(groups),
        tables.run_list(runs),
    )
    judged = findings.judge(groups, ks)
    return ReportData(
        runs=tuple(runs),
        groups=tuple(groups),
        ks=ks,
        tables={table.name: table for table in made},
        evidence=tuple(Evidence(finding=each, chart=comparisons.of_finding(each, groups, ks)) for each in judged),
    )


def _common_ks(runs: Sequence[Run]) -> tuple[int, ...]:
    """The ks that all runs were evaluated at."""
    return tuple(sorted(set.intersection(*(set(run.config["evaluation"]["pass_at"]) for run in runs)))) or (1,)


def _page(report: ReportData, version: str) -> str:
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True)
    environment.filters |= {"text": tables.text, "number": tables.number}
    environment.tests["interval"] = lambda cell: isinstance(cell, MeanInterval)
    groups, runs = report.groups, report.runs
    questions, questions_note = bulk.packed_questions(runs)
    completions, completions_note = bulk.packed_completions(runs)
    return environment.get_template("page.html.jinja").render(
        css=charts.STYLE_SHEET.read_text("utf-8") + (HERE / "page.css").read_text("utf-8"),
        js=(HERE / "page.js").read_text("utf-8") + ((HERE / "live.js").read_text("utf-8") if version else ""),
        version=version,
        report=report,
        tables=report.tables,
        finished=sum(bool(run.summary) for run in runs),
        scales=sorted({str(run.config.get("scale")) for run in runs}),
        headline=comparisons.headline(groups, "hard_test", report.ks),
        transfer=comparisons.headline(groups, "transfer", report.ks),
        search=figures.of_search(groups),
        students=figures.of_students(groups, max(report.ks)),
        lineage=[(run.label, promotions) for run in runs if (promotions := _promotions(run))],
        questions=questions,
        questions_note=questions_note,
        completions=completions if any(run.completions for run in runs) else "",
        completions_note=completions_note,
        problems=bulk.pack(bulk.problems(runs)),
    )


def _promotions(run: Run) -> list[dict[str, Any]]:
    """The promoted datasets of a run in order, with their questions."""
    datasets: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in run.ledger:
        if row.get("promoted") and row.get("question") is not None:
            datasets.setdefault((row["outer_step"], row["dataset"]), []).append(row)
    return [
        {"step": step + 1, "dataset": dataset, "reward": f"{rows[0]['reward']:+.3f}", "questions": rows}
        for (step, dataset), rows in sorted(datasets.items())
    ]


def _markdown(report: ReportData) -> str:
    headline, *others = [tables.markdown(table) for table in report.tables.values() if table.rows]
    sections = [
        f"### {each.finding.title}: {each.finding.verdict}\n\n"
        + "\n".join(f"- {sentence}" for sentence in each.finding.sentences)
        for each in report.shown
    ]
    judged = "\n\n".join(filter(None, [*sections, report.left_out]))
    return "\n".join(["# Report", "", headline, "## Findings", "", judged, "", *others])
