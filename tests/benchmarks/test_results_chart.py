"""The README's chart says what the recorded study says."""

import re

import pytest

from benchmarks import results, results_chart
from tests.conftest import ROOT


def test_the_chart_is_that_of_the_recorded_study():
    assert results_chart.CHART.read_text("utf-8") == results_chart.draw(results.read())


def test_the_readme_gives_the_same_means():
    """Rows of the README's table, of which each has its row in the chart."""
    readme = (ROOT / "README.md").read_text("utf-8")
    chart = results_chart.CHART.read_text("utf-8")
    means = re.findall(r"\*{0,2}([\d.]+)\*{0,2} \[", readme)
    assert len(means) > 8
    for mean in means:
        assert f'class="value end">{mean}</text>' in chart


def first_row(name):
    """The oldest recorded row of a name."""
    return next(row for row in results.read() if row.get("row") == name)


def test_the_newest_row_is_drawn_with_its_seeds():
    soar = first_row("SOAR: PQ")
    newer = soar | {
        "environment": soar["environment"] | {"date": "2999-01-01"},
        "pass@1": {"mean": 12.3, "low": 11.0, "high": 14.0, "by_seed": [11.1, 13.5]},
    }
    marks = ('class="value end">12.3</text>', "<title>seed 1: 13.5</title>")
    before, after = results_chart.draw(results.read()), results_chart.draw([newer, *results.read()])
    assert [mark in before for mark in marks] == [False, False]
    assert [mark in after for mark in marks] == [True, True]


@pytest.mark.parametrize(("name", "k", "first", "count"), [("SOAR: PQ", 32, 98.4, 10), ("Grounded-T: PQ", 1, 70.0, 5)])
def test_seeds_of_the_study_are_recorded(name, k, first, count):
    row = first_row(name)
    seeds = row[f"pass@{k}"]["by_seed"]
    assert (seeds[0], len(seeds), row["seeds"]) == (first, count, count)
