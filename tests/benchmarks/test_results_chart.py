"""The README's chart says what RESULTS.md says."""

import re

import pytest

from benchmarks import results_chart
from tests.conftest import ROOT


def test_the_chart_is_that_of_the_recorded_study():
    assert results_chart.CHART.read_text("utf-8") == results_chart.draw(results_chart.RESULTS.read_text("utf-8"))


def test_the_readme_gives_the_same_means():
    """Rows of the README's table, of which each has its row in the chart."""
    readme = (ROOT / "README.md").read_text("utf-8")
    chart = results_chart.CHART.read_text("utf-8")
    means = re.findall(r"\*{0,2}([\d.]+)\*{0,2} \[", readme)
    assert len(means) > 8
    for mean in means:
        assert f'class="value end">{mean}</text>' in chart


@pytest.mark.parametrize(("row", "k", "first", "count"), [("SOAR: PQ", 32, 98.4, 10), ("Grounded-T: PQ", 1, 70.0, 5)])
def test_seeds_are_read(row, k, first, count):
    study = results_chart.RESULTS.read_text("utf-8").partition("### Findings")[0]
    seeds = results_chart.seeds_of(study)[row, k]
    assert (seeds[0], len(seeds)) == (("seed 0", first), count)
