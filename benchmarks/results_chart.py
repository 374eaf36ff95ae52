"""Draws docs/results.svg, the README's chart, from the recorded study: `python benchmarks/results_chart.py`.

Its figures are the newest rows of the suite `study` at the scale nano in results.jsonl.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from soar_jax.report import charts, forest  # noqa: E402
from soar_jax.report.forest import Cell, Row  # noqa: E402

CHART = ROOT / "docs" / "results.svg"
WIDTH = 880
KS = (1, 32)
# Rows of the table, the method that gives the colour, and the name in the chart.
ROWS = (
    ("base model", "", "base model"),
    ("Hard-Only", "hard_only", "Hard-Only"),
    ("Intrinsic-T", "intrinsic_teacher", "Intrinsic-T"),
    ("frozen teacher: PQ", "frozen_teacher", "frozen teacher"),
    ("Base-T", "base_teacher", "Base-T"),
    ("Grounded-T, no promotion: PQ", "no_promotion", "Grounded-T, no promotion"),
    ("Grounded-T: PQ", "grounded_teacher", "Grounded-T"),
    ("SOAR: PS", "soar_math", "SOAR, promoted student"),
    ("SOAR: PQ", "soar_math", "SOAR, promotion questions"),
    ("curated (upper bound)", "curated", "curated (upper bound)"),
)
NOTE = "Dot: mean over seeds; bar: its 95% interval over seeds and problems; small dots: seeds, where recorded."


def draw(rows: Sequence[results.Row]) -> str:
    """Draws the chart of the newest study among rows of results.jsonl."""
    study = {row["row"]: row for row in results.newest(rows)[results.STUDY, f"nano, {results.HARD_TEST}"]}
    drawn = [
        Row(
            name=name,
            look=charts.look_of(method) if method else charts.BASE_MODEL,
            cells=tuple(_cell(study[row], k) for k in KS),
        )
        for row, method, name in ROWS
    ]
    titles = [f"pass@{k}, % of hard test problems" for k in KS]
    return forest.wide(drawn, titles, width=WIDTH, style=charts.STYLE_SHEET.read_text("utf-8"), note=NOTE) + "\n"


def _cell(row: results.Row, k: int) -> Cell:
    """Returns the pass@k of a row of the study, with its seeds where they are recorded."""
    measured = row[f"pass@{k}"]
    seeds = tuple((f"seed {seed}", value) for seed, value in enumerate(measured.get("by_seed", ())))
    return Cell(interval=results.interval(measured, row["seeds"]), seeds=seeds)


if __name__ == "__main__":
    CHART.write_text(draw(results.read()), "utf-8")
