"""Writes the report: an HTML page, and its tables as Markdown and CSV."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from soar_jax.report import bulk, figures, findings, tables
from soar_jax.report.findings import Finding
from soar_jax.report.read import Run, read_runs
from soar_jax.report.scores import Group, ends, group_runs
from soar_jax.report.tables import Table
from soar_jax.storage.records import replace_text

HERE = pathlib.Path(__file__).parent
SECTIONS = (
    ("results", "Results"),
    ("findings", "Findings"),
    ("transfer", "Transfer"),
    ("compute", "Compute"),
    ("curves", "Curves"),
    ("promotions", "Lineage"),
    ("questions", "Questions"),
    ("problems", "Problems"),
    ("runs", "Runs"),
)


def write(folders: Sequence[pathlib.Path], out: pathlib.Path) -> None:
    """Writes the page about all runs in `folders`, and next to it one `.md` file and one `.csv` file per table.

    Raises:
      SettingsError: a folder has no run.
    """
    runs, groups, made, judged = _load(folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_text(out, _page(runs, groups, made=made, judged=judged, version=""))
    replace_text(out.with_suffix(".md"), _markdown(made, judged))
    for table in made.values():
        replace_text(out.with_name(f"{out.stem}_{table.name}.csv"), tables.to_csv(table))


def live_page(folders: Sequence[pathlib.Path], version: str) -> str:
    """The page, with a script that reloads it when the server has a newer version.

    Raises:
      SettingsError: a folder has no run.
    """
    runs, groups, made, judged = _load(folders)
    return _page(runs, groups, made=made, judged=judged, version=version)


def _load(
    folders: Sequence[pathlib.Path],
) -> tuple[list[Run], list[Group], dict[str, Table], list[Finding]]:
    """Reads the runs in folders; returns them with their groups, tables and findings."""
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
    return runs, groups, {table.name: table for table in made}, findings.judge(groups, ks)


def _common_ks(runs: Sequence[Run]) -> tuple[int, ...]:
    """The ks that all runs were evaluated at."""
    return tuple(sorted(set.intersection(*(set(run.config["evaluation"]["pass_at"]) for run in runs)))) or (1,)


def _page(
    runs: Sequence[Run], groups: Sequence[Group], made: dict[str, Table], judged: Sequence[Finding], version: str
) -> str:
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True)
    return environment.get_template("page.html.jinja").render(
        css=(HERE / "page.css").read_text("utf-8"),
        js=(HERE / "page.js").read_text("utf-8") + ((HERE / "live.js").read_text("utf-8") if version else ""),
        version=version,
        sections=SECTIONS,
        runs=runs,
        finished=sum(bool(run.summary) for run in runs),
        scales=sorted({str(run.config.get("scale")) for run in runs}),
        tables=made,
        findings=judged,
        figures={
            "learning_curves": figures.learning_curves(groups),
            "promotions": figures.promotions(groups),
            "test_curves": figures.test_curves(groups, max(_common_ks(runs))),
            "diversity": figures.diversity(groups),
            "cosine_distance": figures.cosine_distance(groups),
            "difficulty": figures.difficulty(groups),
            "topics": figures.topics(groups),
        },
        lineage=[(run.label, promotions) for run in runs if (promotions := _promotions(run))],
        questions=bulk.pack(bulk.questions(runs)),
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


def _markdown(made: dict[str, Table], judged: Sequence[Finding]) -> str:
    headline, *others = [tables.markdown(table) for table in made.values()]
    sections = [
        f"### {finding.title}: {finding.verdict}\n\n" + "\n".join(f"- {sentence}" for sentence in finding.sentences)
        for finding in judged
    ]
    return "\n".join(["# Report", "", headline, "## Findings", "", "\n\n".join(sections), "", *others])
