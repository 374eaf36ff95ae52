"""The page, and its tables as Markdown and CSV beside it."""

from __future__ import annotations

import dataclasses
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
    """Writes a page about all runs in folders, and its tables beside it (`.md`, and a `.csv` a table).

    Raises:
      SettingsError: a folder holds no run.
    """
    runs = read_runs(folders)
    groups = group_runs(runs)
    made, judged = _tables(runs, groups), findings.judge(groups, _ks(runs))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_text(out, _page(runs, groups, made=made, judged=judged, version=""))
    replace_text(out.with_suffix(".md"), _markdown(made, judged))
    for table in made.values():
        replace_text(out.with_name(f"{out.stem}_{table.name}.csv"), tables.to_csv(table))


def live_page(folders: Sequence[pathlib.Path], version: str) -> str:
    """The page as `write` would make it now, which asks its server for a newer version by itself.

    Raises:
      SettingsError: a folder holds no run.
    """
    runs = read_runs(folders)
    groups = group_runs(runs)
    return _page(runs, groups, made=_tables(runs, groups), judged=findings.judge(groups, _ks(runs)), version=version)


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
            "diversity": figures.diversity(groups),
            "difficulty": figures.difficulty(groups),
            "topics": figures.topics(groups),
        },
        lineage=[lineage for run in runs if (lineage := _lineage(run)).promotions],
        questions=bulk.pack(bulk.questions(runs)),
        problems=bulk.pack(bulk.problems(runs)),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Lineage:
    """How a run's promoted student came about."""

    label: str
    promotions: tuple[dict[str, Any], ...]


def _lineage(run: Run) -> _Lineage:
    """The promoted datasets of a run in order, with their questions."""
    datasets: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in run.ledger:
        if row.get("promoted") and row.get("question") is not None:
            datasets.setdefault((row["outer_step"], row["dataset"]), []).append(row)
    promotions = tuple(
        {"step": step + 1, "dataset": dataset, "reward": f"{rows[0]['reward']:+.3f}", "questions": rows}
        for (step, dataset), rows in sorted(datasets.items())
    )
    return _Lineage(label=run.label, promotions=promotions)


def _tables(runs: Sequence[Run], groups: Sequence[Group]) -> dict[str, Table]:
    ks = _ks(runs)
    made = (
        tables.headline(groups, "hard_test", ks),
        tables.headline(groups, "transfer", ks),
        tables.compute(groups),
        tables.answer_swap(groups, ends(ks)),
        tables.questions(groups),
        tables.run_list(runs),
    )
    return {table.name: table for table in made}


def _ks(runs: Sequence[Run]) -> tuple[int, ...]:
    """The ks that all runs were evaluated at."""
    common = set.intersection(*(set(run.config["evaluation"]["pass_at"]) for run in runs))
    return tuple(sorted(common)) or (1,)


def _markdown(made: dict[str, Table], judged: Sequence[Finding]) -> str:
    parts = [tables.markdown(table) for table in made.values()]
    said = [
        f"### {finding.title}: {finding.verdict}\n\n" + "\n".join(f"- {sentence}" for sentence in finding.sentences)
        for finding in judged
    ]
    return "\n".join(["# Report", "", parts[0], "## Findings", "", "\n\n".join(said), "", *parts[1:]])
