"""Draws docs/results.svg, the README's chart, from the recorded study: `python benchmarks/results_chart.py`.

Its figures are those of the first study of RESULTS.md that has a table of hard test problems.
"""

from __future__ import annotations

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from soar_jax.evaluation.statistics import Interval  # noqa: E402
from soar_jax.report import charts, forest  # noqa: E402
from soar_jax.report.forest import Cell, Row  # noqa: E402

RESULTS, CHART = ROOT / "benchmarks" / "RESULTS.md", ROOT / "docs" / "results.svg"
WIDTH = 880
KS = (1, 32)
# Rows of the table, the method that gives the colour, and the name in the chart.
ROWS = (
    ("base model", "", "base model"),
    ("Hard-Only", "hard_only", "Hard-Only"),
    ("Intrinsic-T", "intrinsic_teacher", "Intrinsic-T"),
    ("frozen teacher: PQ", "frozen_teacher", "frozen teacher"),
    ("Base-T", "base_teacher", "Base-T"),
    ("Grounded-T: PQ", "grounded_teacher", "Grounded-T"),
    ("SOAR: PS", "soar_math", "SOAR, promoted student"),
    ("SOAR: PQ", "soar_math", "SOAR, promotion questions"),
    ("curated (upper bound)", "curated", "curated (upper bound)"),
)
NOTE = "Dot: mean over seeds; bar: its 95% interval over seeds and problems; small dots: seeds, where recorded."


def draw(text: str) -> str:
    """The chart of a text such as RESULTS.md."""
    study = text[: text.index("### Findings")]
    means, seeds = _means(study), seeds_of(study)
    rows = [
        Row(
            name=name,
            look=charts.look_of(method) if method else charts.BASE_MODEL,
            cells=tuple(Cell(interval=means[row, k], seeds=seeds.get((row, k), ())) for k in KS),
        )
        for row, method, name in ROWS
    ]
    titles = [f"pass@{k}, % of hard test problems" for k in KS]
    return forest.wide(rows, titles, WIDTH, charts.STYLE_SHEET.read_text("utf-8"), NOTE) + "\n"


def _means(study: str) -> dict[tuple[str, int], Interval]:
    """Means and intervals of the table of hard test problems, by row and k."""
    lines = study[study.index("### Hard test problems") :].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {
        (row[0], k): _interval(row[head.index(f"pass@{k}")], int(row[head.index("seeds")])) for row in rows for k in KS
    }


def _interval(cell: str, num_seeds: int) -> Interval:
    """The interval of a cell `mean ± SD [low, high]`."""
    mean, low, high = map(float, re.fullmatch(r"([\d.]+) ± [\d.]+ \[([\d.]+), ([\d.]+)\]", cell).groups())
    return Interval(mean=mean, low=low, high=high, num_seeds=num_seeds)


def seeds_of(study: str) -> dict[tuple[str, int], tuple[tuple[str, float], ...]]:
    """The figures of single seeds, by row and k: those of SOAR's table, and those in the sentence below it."""
    found: dict[tuple[str, int], list[float]] = {}
    pair = r"([\d.]+) / ([\d.]+)"
    for values in re.findall(rf"^\| \d+ \| [\d, ]+ \| \d+ \| {pair} \| {pair} \|", study, re.MULTILINE):
        for place, value in zip(
            (("SOAR: PS", 1), ("SOAR: PS", 32), ("SOAR: PQ", 1), ("SOAR: PQ", 32)), values, strict=True
        ):
            found.setdefault(place, []).append(float(value))
    sentence = study[study.index("pass@1 by seed:") :]
    for name, row in (
        ("Base-T", "Base-T"),
        ("Intrinsic-T", "Intrinsic-T"),
        ("Grounded-T", "Grounded-T: PQ"),
        ("Hard-Only", "Hard-Only"),
    ):
        listed = re.search(rf"{name}\s+((?:[\d.]+,\s)*[\d.]+)", sentence)[1]
        found[row, 1] = [float(value) for value in listed.split(",")]
    return {
        place: tuple((f"seed {seed}", value) for seed, value in enumerate(values)) for place, values in found.items()
    }


if __name__ == "__main__":
    CHART.write_text(draw(RESULTS.read_text("utf-8")), "utf-8")
