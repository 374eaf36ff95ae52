"""Charts of means with their intervals: a row a policy, a column a measure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from soar_jax.evaluation.statistics import MeanInterval
from soar_jax.report import charts
from soar_jax.report.charts import Axis, Look
from soar_jax.report.paper import MeanSd

WIDE = 1120
_NAMES, _COUNT, _VALUES, _GAP = 270, 76, 144, 18  # widths of a wide chart's columns of words, and between columns
_BOUNDS = 94  # of the values, what the interval takes
_HEAD, _FOOT = 34, 26
_WIDE_ROW, _NARROW_ROW = 27, 38


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A measure of a policy."""

    interval: MeanInterval
    seeds: tuple[tuple[str, float], ...] = ()  # by name
    paper: MeanSd | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A policy, and its measures by column; None where it has none."""

    name: str
    look: Look
    cells: tuple[Cell | None, ...]

    @property
    def num_seeds(self) -> int:
        return max((cell.interval.num_seeds for cell in self.cells if cell), default=0)


def narrow(rows: Sequence[Row], titles: Sequence[str]) -> tuple[str, ...]:
    """A panel a column, with names and values above the marks; empty for no rows."""
    return tuple(_narrow(rows, column, title) for column, title in enumerate(titles) if rows)


def _narrow(rows: Sequence[Row], column: int, title: str) -> str:
    shown = _with_cells(rows, column)
    left, right = 8, charts.PANEL_WIDTH - 8
    floor = 22 + _NARROW_ROW * len(shown)
    axis = _axis([cell for _, cell in shown])
    parts = [charts.text((0, 12), title, "title"), *_grid(axis, (left, right), top=20, floor=floor)]
    for number, (row, cell) in enumerate(shown):
        y = 36 + _NARROW_ROW * number
        parts += [charts.name((0, y), row.name, charts.PANEL_WIDTH - _VALUES), _value(charts.PANEL_WIDTH, y, cell)]
        parts += _marks(row.look, cell, axis, span=(left, right), y=y + 13)
    return charts.svg(_spoken(title, shown), parts, width=charts.PANEL_WIDTH, height=floor + _FOOT)


def wide(rows: Sequence[Row], titles: Sequence[str], *, width: float = WIDE, style: str = "", note: str = "") -> str:
    """One chart with names at the left and a column a measure; empty text for no rows.

    Args:
      style, note: a style sheet and a line of words below, for a chart that stands alone.
    """
    if not rows:
        return ""
    column_width = (width - _NAMES - _GAP * (len(titles) - 1)) / len(titles)
    parts = _names(rows)
    for column, title in enumerate(titles):
        left = _NAMES + column * (column_width + _GAP)
        parts += _wide_column(rows, column, title, edges=(left, left + column_width))
    height = _HEAD + _WIDE_ROW * len(rows) + _FOOT + (20 if note else 0)
    parts += [charts.text((0, height - 4), note, "dim")] if note else []
    spoken = [_spoken(title, _with_cells(rows, column)) for column, title in enumerate(titles)]
    return charts.svg(". ".join(spoken), parts, width=width, height=height, style=style)


def _names(rows: Sequence[Row]) -> list[str]:
    """The names of policies and their numbers of seeds, left of a wide chart."""
    parts = []
    for number, row in enumerate(rows):
        y = _middle(number) + 4
        parts.append(charts.name((0, y), row.name, _NAMES - _COUNT))
        parts.append(charts.text((_NAMES - 16, y), _seeds(row.num_seeds), "dim end"))
    return parts


def _wide_column(rows: Sequence[Row], column: int, title: str, *, edges: tuple[float, float]) -> list[str]:
    """A measure of a wide chart, between two pixels."""
    span = edges[0], edges[1] - _VALUES
    axis = _axis([cell for _, cell in _with_cells(rows, column)])
    parts = [
        charts.text((span[0], 14), title, "title"),
        *_grid(axis, span, top=_HEAD - 8, floor=_HEAD + _WIDE_ROW * len(rows)),
    ]
    for number, row in enumerate(rows):
        cell = row.cells[column]
        if cell:
            y = _middle(number)
            parts += [*_marks(row.look, cell, axis, span=span, y=y), _value(edges[1], y + 4, cell)]
    return parts


def _middle(number: int) -> float:
    """The middle of a row of a wide chart."""
    return _HEAD + _WIDE_ROW * (number + 0.5)


def _with_cells(rows: Sequence[Row], column: int) -> list[tuple[Row, Cell]]:
    """The rows that have a measure."""
    return [(row, cell) for row in rows if (cell := row.cells[column])]


def _axis(cells: Sequence[Cell]) -> Axis:
    """From 0 to the largest value of any mark."""
    values = [value for cell in cells for value in (cell.interval.high, cell.interval.mean)]
    values += [value for cell in cells for _, value in cell.seeds]
    values += [cell.paper.mean for cell in cells if cell.paper]
    return charts.value_axis(0, max(filter(math.isfinite, values), default=1))


def _grid(axis: Axis, span: tuple[float, float], *, top: float, floor: float) -> list[str]:
    parts = []
    for tick, words in zip(axis.ticks, axis.texts(), strict=True):
        x = axis.place(tick, *span)
        parts += [charts.rule((x, top), (x, floor), "grid"), charts.text((x, floor + 16), words, "middle dim")]
    return parts


def _marks(look: Look, cell: Cell, axis: Axis, *, span: tuple[float, float], y: float) -> list[str]:
    """Marks at a height: a bar to the mean, the seeds, the interval, and the paper's mean."""
    interval, color = cell.interval, look.color
    mean = axis.place(interval.mean, *span)
    parts = [charts.bar((span[0], y - 5), (mean, y + 5), f"bar {color}")]
    parts += [
        charts.dot((axis.place(value, *span), y), 3, f"dot small {color}", tip=f"{name}: {value:.1f}")
        for name, value in cell.seeds
    ]
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        ends = [(axis.place(value, *span), y) for value in (interval.low, interval.high)]
        parts.append(charts.rule(ends[0], ends[1], f"interval {color}"))
    parts.append(charts.dot((mean, y), 5, f"dot {color}", tip=f"mean: {interval.mean:.1f}"))
    if cell.paper:
        x, tip = axis.place(cell.paper.mean, *span), f"paper: {cell.paper.mean:.1f} ({cell.paper.sd:.1f})"
        diamond = f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"
        parts.append(f'<path class="paper" d="{diamond}"><title>{tip}</title></path>')
    return parts


def _value(x: float, y: float, cell: Cell) -> str:
    """The mean and its interval in two columns, of which the second ends at a pixel."""
    interval = cell.interval
    words = f"[{interval.low:.1f}, {interval.high:.1f}]" if math.isfinite(interval.low) else ""
    mean = charts.text((x - _BOUNDS, y), f"{interval.mean:.1f}", "value end")
    return mean + charts.text((x - _BOUNDS + 5, y), words, "dim")


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def _spoken(title: str, shown: Sequence[tuple[Row, Cell]]) -> str:
    """Describes the chart as text, for those who do not see it."""
    return f"{title}: " + "; ".join(f"{row.name} {cell.interval.mean:.1f}" for row, cell in shown)
