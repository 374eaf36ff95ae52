import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from soar_jax.config.methods import METHODS
from soar_jax.report import charts
from soar_jax.report.charts import End, Frame, Look
from tests.report.conftest import HOSTILE

SHEET = charts.STYLE_SHEET.read_text("utf-8")


def elements(svg, tag):
    return ElementTree.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}")


def luminance(color):
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", range(3))  # light, dark, printed
def test_colours_stand_out_from_their_paper(theme):
    """At least 3:1, what WCAG asks of graphics, and 4.5:1 of words."""
    block = re.findall(r"\.chart \{\s(.*?)\}", SHEET, re.DOTALL)[theme]
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    paper = luminance(colors["paper"])

    def contrast(name):
        low, high = sorted((luminance(colors[name]), paper))
        return (high + 0.05) / (low + 0.05)

    assert all(contrast(hue) >= 3 for hue in charts.HUES)
    assert min(contrast("ink"), contrast("dim")) >= 4.5


def test_letters_have_one_size():
    assert re.findall(r"font(?:-size)?: (?:\d+ )?(\d+)px", SHEET) == ["12"]


def test_each_method_has_a_look_of_its_own():
    looks = [charts.look_of(method) for method in sorted(METHODS)]
    assert len(set(looks)) == len(looks)
    assert {look.color for look in looks} <= set(charts.HUES)
    assert all(f".chart .{look.color} {{" in SHEET for look in looks)
    assert all(look.dash == "solid" or f".chart .{look.dash} {{" in SHEET for look in looks)
    assert charts.look_of("soar_math", "base") == charts.look_of("hard_only", "base")
    assert charts.look_of("soar_math", "hard_only") == charts.look_of("hard_only")
    assert charts.look_of("hard_only_long", "hard_only") == charts.look_of("hard_only_long")


@pytest.mark.parametrize(
    ("first", "last", "ticks"),
    [
        (1, 6, [1, 2, 3, 4, 5, 6]),
        (1, 3, [1, 2, 3]),
        (1, 200, [50, 100, 150, 200]),
        (7, 7, [7]),
        (1, 10, [2, 4, 6, 8, 10]),
    ],
)
def test_steps_have_whole_ticks(first, last, ticks):
    axis = charts.step_axis(first, last)
    assert list(axis.ticks) == ticks
    assert axis.low <= first <= last <= axis.high


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 99.4, ["0", "20", "40", "60", "80", "100"]),
        (0, 0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.013, 0.021, ["−0.02", "−0.01", "0.00", "0.01", "0.02", "0.03"]),
        (0, 1234, ["0", "500", "1,000", "1,500"]),
    ],
)
def test_axes_begin_and_end_with_a_tick(low, high, texts):
    axis = charts.value_axis(low, high)
    assert axis.texts() == texts
    assert axis.low <= low <= high <= axis.high


def test_labels_keep_their_order_and_do_not_touch():
    places = charts.spread([50, 51, 52, 180], [14, 28, 14, 14], top=40, bottom=190)
    assert places == sorted(places)
    edges = [(place - height / 2, place + height / 2) for place, height in zip(places, [14, 28, 14, 14], strict=True)]
    assert all(above[1] <= below[0] + 1e-9 for above, below in itertools.pairwise(edges))
    assert edges[-1][1] <= 190
    assert charts.spread([100, 150], [14, 14], top=40, bottom=190) == [100, 150]  # left where they are


def test_names_are_text():
    frame = Frame(x=charts.step_axis(1, 3), y=charts.value_axis(0, 1), right=charts.LABEL_ROOM)
    marks = charts.end_labels(frame, [End(point=(3, 0.5), name=HOSTILE, look=Look(color="blue"))])
    svg = charts.panel(frame, HOSTILE, (HOSTILE, HOSTILE), marks=[*marks, charts.dot((0, 0), 1, "dot", tip=HOSTILE)])
    assert "<img" not in svg
    assert HOSTILE in [text.text for text in elements(svg, "text")]
    assert next(elements(svg, "title")).text == HOSTILE


def test_long_names_are_cut_in_their_middle():
    words = "SOAR, inner.group_size=16, promotion.threshold=0.01, teacher.learning_rate=1e-05, seed 3"
    cut = ElementTree.fromstring(charts.name((0, 0), words, 200))
    assert cut.find("title").text == words
    shown = cut.find("text").text
    assert (shown[:11], shown[-10:]) == ("SOAR, inner", "05, seed 3")
    assert len(shown) < 30
    assert charts.name((0, 0), "SOAR", 200) == charts.text((0, 0), "SOAR")


def test_points_are_where_the_axes_say():
    frame = Frame(x=charts.step_axis(1, 3), y=charts.value_axis(0, 10))
    svg = charts.panel(frame, "t", ("x", "y"), marks=[charts.line(frame, [(1, 0), (3, 10)], "curve blue")])
    (line,) = elements(svg, "polyline")
    left, floor = frame.left, frame.height - frame.bottom
    assert line.get("points") == f"{left:.1f},{floor:.1f} {frame.width - frame.right:.1f},{frame.top:.1f}"
    (single,) = elements(charts.svg("", [charts.line(frame, [(2, 5)], "curve blue")], width=1, height=1), "circle")
    assert single.get("class") == "dot blue"
