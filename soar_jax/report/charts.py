"""Charts as SVG text: one size of type, one look per method, and labels beside the data.

Sizes are CSS pixels and charts are never scaled on screen, so that letters are equally large in all of them. A page
wraps whole panels; `PANEL_WIDTH` is what a phone shows. `charts.css` has the colours, for light and dark pages.
"""

from __future__ import annotations

import dataclasses
import html
import math
import pathlib
import textwrap
from collections.abc import Iterable, Sequence

STYLE_SHEET = pathlib.Path(__file__).with_name("charts.css")
PANEL_WIDTH, PANEL_HEIGHT = 358, 216
LABEL_ROOM = 112  # right of the data, for the labels of lines
_LINE_HEIGHT, _LABEL_LETTERS = 14, 16
_LETTER = 6.8  # width of a letter of a wide font, on average
_KEPT_END = 10  # letters at the end of a name that is cut: they tell seeds and policies apart
_STEPS = (1, 2, 5, 10)  # between ticks, times a power of ten

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """A colour and a kind of line: classes of `charts.css`."""

    color: str
    dash: str = "solid"


_LOOKS = {
    "hard_only": Look(color="grey"),
    "hard_only_large_group": Look(color="grey", dash="dashed"),
    "hard_only_long": Look(color="grey", dash="dotted"),
    "serl": Look(color="purple"),
    "base_teacher": Look(color="orange"),
    "frozen_teacher": Look(color="orange", dash="dashed"),
    "intrinsic_teacher": Look(color="vermillion"),
    "triangle_teacher": Look(color="vermillion", dash="dashed"),
    "r_zero_teacher": Look(color="vermillion", dash="dotted"),
    "absolute_zero_teacher": Look(color="vermillion", dash="dashdot"),
    "grounded_teacher": Look(color="green"),
    "no_promotion": Look(color="green", dash="dashed"),
    "soar_math": Look(color="blue"),
    "two_turn_teacher": Look(color="blue", dash="dashed"),
    "promotion_questions": Look(color="blue", dash="dotted"),
    "inference": Look(color="blue", dash="dashdot"),
    "well_posed_only": Look(color="sky"),
    "correct_only": Look(color="sky", dash="dashed"),
    "curated": Look(color="black"),
    "curated_128": Look(color="black", dash="dashed"),
    "curated_harp_128": Look(color="black", dash="dotted"),
}
_OTHER = Look(color="purple", dash="dashed")  # a method that others have registered
BASE_MODEL = Look(color="grey", dash="dotted")
HUES = ("blue", "orange", "green", "vermillion", "sky", "purple", "black", "grey")


def look_of(method: str, policy: str = "") -> Look:
    """The colour and kind of line of a method, the same in all charts.

    The base model has its own, and students on hard problems alone have that of Hard-Only, whichever run trained them.
    """
    if policy == "base":
        return BASE_MODEL
    if policy == "hard_only" and not method.startswith(policy):
        return _LOOKS[policy]
    return _LOOKS.get(method, _OTHER)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values and its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float, start: float, end: float) -> float:
        """The pixel of a value on an axis from pixel `start` to pixel `end`."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)

    def texts(self) -> list[str]:
        """The labels of the ticks, with the decimals that their distance needs."""
        gap = min((b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)), default=1)
        decimals = max(0, -math.floor(math.log10(gap) + 1e-9))
        return [f"{tick:,.{decimals}f}".replace("-", "−") for tick in self.ticks]


def value_axis(low: float, high: float, most: int = 5) -> Axis:
    """An axis that begins and ends with a tick and holds both values."""
    if not high > low:
        high = low + 1
    step = _nice((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(step * number for number in range(first, last + 1))
    return Axis(low=ticks[0], high=ticks[-1], ticks=ticks)


def step_axis(first: float, last: float, most: int = 6) -> Axis:
    """An axis from the first step to the last, with ticks at whole steps alone."""
    if first == last:
        return Axis(low=first - 0.5, high=last + 0.5, ticks=(first,))
    step = max(1, round(_nice((last - first) / most)))
    ticks = tuple(range(math.ceil(first / step) * step, math.floor(last) + 1, step))
    return Axis(low=first, high=last, ticks=ticks)


def _nice(width: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `width`."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in _STEPS if step * power >= width * (1 - 1e-9))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """A panel's size, its margins and its axes."""

    x: Axis
    y: Axis
    width: float = PANEL_WIDTH
    height: float = PANEL_HEIGHT
    left: float = 40
    right: float = 10
    top: float = 40
    bottom: float = 34

    def at(self, point: Point) -> Point:
        """Pixels of a point."""
        x = self.x.place(point[0], self.left, self.width - self.right)
        return x, self.y.place(point[1], self.height - self.bottom, self.top)


def svg(label: str, parts: Iterable[str], *, width: float, height: float, style: str = "") -> str:
    """A chart.

    Args:
      label: what it shows, for those who do not see it.
      style: a style sheet, for a chart that stands alone.
    """
    sheet = f"<style>{style}</style>" if style else ""
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" {size} role="img" '
        f'aria-label="{html.escape(label)}">{sheet}{"".join(parts)}</svg>'
    )


def text(at: Point, words: str, classes: str = "") -> str:
    """Words at a pixel; they are escaped."""
    kind = f' class="{classes}"' if classes else ""
    return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}"{kind}>{html.escape(words)}</text>'


def name(at: Point, words: str, room: float, *, classes: str = "") -> str:
    """A name, cut in its middle where it is wider than `room`, and then shown whole on hovering."""
    letters = int(room / _LETTER)
    if len(words) <= letters:
        return text(at, words, classes)
    short = f"{words[: letters - _KEPT_END - 1]}…{words[-_KEPT_END:]}"
    return f"<g><title>{html.escape(words)}</title>{text(at, short, classes)}</g>"


def rule(start: Point, end: Point, classes: str) -> str:
    """A straight line between pixels."""
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{classes}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def bar(corner: Point, opposite: Point, classes: str) -> str:
    """A rectangle between pixels."""
    (x, y), (x2, y2) = corner, opposite
    return f'<rect class="{classes}" x="{x:.1f}" y="{y:.1f}" width="{x2 - x:.1f}" height="{y2 - y:.1f}"/>'


def dot(at: Point, radius: float, classes: str, *, tip: str = "") -> str:
    """A dot at a pixel; `tip` is shown on hovering."""
    inside = f"<title>{html.escape(tip)}</title>" if tip else ""
    return f'<circle class="{classes}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}">{inside}</circle>'


def line(frame: Frame, points: Sequence[Point], classes: str) -> str:
    """A line through points; a dot for a single one."""
    if len(points) == 1:
        return dot(frame.at(points[0]), 2, classes.replace("curve", "dot").replace("seed", "dot small"))
    return f'<polyline class="{classes}" points="{_pixels(frame, points)}"/>'


def area(frame: Frame, lower: Sequence[Point], upper: Sequence[Point], *, classes: str) -> str:
    """The area between two lines."""
    return f'<polygon class="{classes}" points="{_pixels(frame, [*lower, *reversed(upper)])}"/>'


def _pixels(frame: Frame, points: Sequence[Point]) -> str:
    return " ".join("{:.1f},{:.1f}".format(*frame.at(point)) for point in points)


def panel(frame: Frame, title: str, names: tuple[str, str], *, marks: Iterable[str]) -> str:
    """A panel with axes: title, marks, and below and above them the names of x and y."""
    left, right, floor = frame.left, frame.width - frame.right, frame.height - frame.bottom
    parts = [name((0, 12), title, frame.width, classes="title"), text((0, 29), names[1], "dim")]
    for tick, words in zip(frame.y.ticks, frame.y.texts(), strict=True):
        _, y = frame.at((frame.x.low, tick))
        parts += [rule((left, y), (right, y), "grid"), text((left - 6, y + 4), words, "end dim")]
    for tick, words in zip(frame.x.ticks, frame.x.texts(), strict=True):
        x, _ = frame.at((tick, frame.y.low))
        parts += [rule((x, floor), (x, floor + 4), "axis"), text((x, floor + 17), words, "middle dim")]
    parts += [
        rule((left, floor), (right, floor), "axis"),
        text(((left + right) / 2, floor + 32), names[0], "middle dim"),
    ]
    label = f"{title}: {names[1]} by {names[0]}"
    return svg(label, [*parts, *marks], width=frame.width, height=frame.height)


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """The last point of a line, and the words beside it."""

    point: Point
    name: str
    look: Look


def end_labels(frame: Frame, ends: Sequence[End]) -> list[str]:
    """Labels right of the data, each beside the end of its line; moved apart where ends are close."""
    ordered = sorted(ends, key=lambda end: -end.point[1])
    lines = [_wrapped(end.name) for end in ordered]
    wanted = [frame.at(end.point)[1] for end in ordered]
    heights = [_LINE_HEIGHT * len(words) for words in lines]
    places = spread(wanted, heights, top=frame.top - 8, bottom=frame.height - frame.bottom + 12)
    parts, edge = [], frame.width - frame.right
    for end, words, place, height in zip(ordered, lines, places, heights, strict=True):
        x, y = frame.at(end.point)
        path = f"M{x:.1f} {y:.1f}L{edge + 4:.1f} {y:.1f}L{edge + 10:.1f} {place:.1f}"
        parts += [f'<path class="leader" d="{path}"/>', dot((x, y), 3, f"dot {end.look.color}")]
        first = place - height / 2 + 11
        parts += [text((edge + 13, first + _LINE_HEIGHT * row), part) for row, part in enumerate(words)]
    return parts


def label_height(names: Iterable[str]) -> float:
    """Pixels that the labels of lines need."""
    return float(sum(_LINE_HEIGHT * len(_wrapped(name)) for name in names))


def _wrapped(name: str) -> list[str]:
    return textwrap.wrap(name, _LABEL_LETTERS, max_lines=2, placeholder=" …") or [""]


def spread(wanted: Sequence[float], heights: Sequence[float], *, top: float, bottom: float) -> list[float]:
    """Middles of labels near the wanted ones, in their order, without overlap, between top and bottom if they fit."""
    places: list[float] = []
    edge = top
    for place, height in zip(wanted, heights, strict=True):
        places.append(max(place, edge + height / 2))
        edge = places[-1] + height / 2
    edge = bottom
    for number in reversed(range(len(places))):
        places[number] = min(places[number], edge - heights[number] / 2)
        edge = places[number] - heights[number] / 2
    return places
