import xml.etree.ElementTree as ElementTree

import pytest

from soar_jax.evaluation.statistics import MeanInterval
from soar_jax.report import charts, forest
from soar_jax.report.charts import Look
from soar_jax.report.forest import Cell, Row
from soar_jax.report.paper import MeanSd
from tests.report.conftest import HOSTILE


def cell(mean, low, high, **more):
    return Cell(interval=MeanInterval(mean=mean, low=low, high=high, num_seeds=3), **more)


ROWS = (
    Row(name="SOAR", look=Look(color="blue"), cells=(cell(40, 30, 50, seeds=(("seed 0", 60.0),)), cell(80, 70, 90))),
    Row(name=HOSTILE, look=Look(color="grey"), cells=(cell(10, 5, 20, paper=MeanSd(mean=30.0, sd=2.0)), None)),
)


def of_class(svg, tag, name):
    found = ElementTree.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}")
    return [element for element in found if name in element.get("class", "").split()]


def test_marks_lie_on_one_scale():
    svg = forest.narrow(ROWS, ("pass@1", "pass@32"))[0]
    left, right = 8, charts.PANEL_WIDTH - 8

    def value(x):
        return (float(x) - left) / (right - left) * 60  # the axis ends above the largest mark, a seed's

    (interval,) = of_class(svg, "line", "blue")
    assert [value(interval.get(end)) for end in ("x1", "x2")] == pytest.approx([30, 50], abs=0.1)
    mean, seed = sorted(of_class(svg, "circle", "blue"), key=lambda dot: float(dot.get("cx")))
    assert [value(dot.get("cx")) for dot in (mean, seed)] == pytest.approx([40, 60], abs=0.1)
    assert seed[0].text == "seed 0: 60.0"
    (paper,) = of_class(svg, "path", "paper")
    assert value(paper.get("d")[1:].split()[0]) == pytest.approx(30, abs=0.1)
    assert paper[0].text == "paper: 30.0 (2.0)"


def test_a_policy_without_a_measure_has_no_row_in_its_panel():
    first, second = forest.narrow(ROWS, ("pass@1", "pass@32"))
    assert len(of_class(first, "text", "value")) == 2
    assert len(of_class(second, "text", "value")) == 1
    wide = forest.wide(ROWS, ("pass@1", "pass@32"))
    assert sorted(text.text for text in of_class(wide, "text", "value")) == ["10.0", "40.0", "80.0"]


def test_names_are_text_and_panels_fit_a_phone():
    for svg in (*forest.narrow(ROWS, ("pass@1", "pass@32")), forest.wide(ROWS, ("pass@1", "pass@32"))):
        assert "<img" not in svg
        ElementTree.fromstring(svg)
    assert charts.PANEL_WIDTH <= 390 - 2 * 16


def test_no_rows_make_no_chart():
    assert forest.narrow((), ("pass@1",)) == ()
    assert forest.wide((), ("pass@1",)) == ""


def test_intervals_without_ends_are_not_drawn():
    rows = (Row(name="x", look=Look(color="blue"), cells=(cell(3, float("nan"), float("nan")),)),)
    (svg,) = forest.narrow(rows, ("ratio",))
    assert of_class(svg, "line", "interval") == []
    assert "nan" not in svg
