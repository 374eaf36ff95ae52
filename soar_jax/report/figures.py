"""Figures as SVG text: small multiples with one thin line per seed and their mean in bold."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from soar_jax.integers import ceil_div
from soar_jax.report.read import Run
from soar_jax.report.scores import Group

_COLUMNS = 4
_SEED_COLOR, _MEAN_COLOR, _MARK_COLOR = "#8fb3cf", "#1f4e79", "#c55a11"
_SHADE = "#f2e6d8"
Value = Callable[[dict[str, Any]], float | None]


def learning_curves(groups: Sequence[Group]) -> str:
    """Validation accuracy of all kinds of final students over student steps; shaded: steps on synthetic questions."""

    def accuracy(point: dict[str, Any]) -> float | None:
        return float(np.mean(point["validation"])) if "validation" in point else None

    return _curves(groups, accuracy, "hard validation, pass@1")


def test_curves(groups: Sequence[Group], k: int) -> str:
    """Pass@k on hard test problems of final students over student steps, where they were tested on the way."""

    def passed(point: dict[str, Any]) -> float | None:
        value = point.get("tests", {}).get("hard_test", {}).get(f"pass@{k}")
        return None if value is None else float(value)

    return _curves(groups, passed, f"hard test, pass@{k}")


def _curves(groups: Sequence[Group], value: Value, label: str) -> str:
    """A panel for each kind of final students whose curve has values."""
    kinds = [
        (group, policy)
        for group in groups
        for policy in group.policies()
        if any(value(point) is not None for run in group.runs for point in run.results.get(policy, {}).get("curve", ()))
    ]

    def draw(axes: Any, kind: tuple[Group, str]) -> None:
        group, policy = kind
        curves = [run.results[policy]["curve"] for run in group.runs if policy in run.results]
        series = [[(p["student_steps"], y) for p in curve if (y := value(p)) is not None] for curve in curves]
        for points in filter(None, series):
            axes.plot(*zip(*points, strict=True), color=_SEED_COLOR, linewidth=1)
        switches = [max((p["student_steps"] for p in curve if p["is_synthetic"]), default=0) for curve in curves]
        for switch in switches:
            axes.axvspan(0, switch, color=_SHADE, alpha=1 / len(switches) if len(switches) > 1 else 1, linewidth=0)
        _mean_line(axes, series)
        axes.set_title(group.row_name(policy), fontsize=9)
        axes.set_ylim(-0.03, 1.03)

    return _panels(kinds, draw, xlabel="student steps", ylabel=label)


def promotions(groups: Sequence[Group]) -> str:
    """Validation accuracy of the baseline student over outer steps, with a dot at each promotion."""

    def draw(axes: Any, group: Group) -> None:
        for run in _searched(group):
            steps = [row["outer_step"] + 1 for row in run.metrics]
            accuracy = [row["validation_accuracy"] for row in run.metrics]
            axes.step(steps, accuracy, where="post", color=_MEAN_COLOR, linewidth=1, alpha=0.7)
            dots = [(s, a) for s, a, row in zip(steps, accuracy, run.metrics, strict=True) if row["promoted"]]
            axes.scatter(*zip(*dots, strict=True) if dots else ((), ()), color=_MARK_COLOR, s=14, zorder=3)
        axes.set_title(group.name, fontsize=9)
        axes.set_ylim(-0.03, 1.03)

    return _panels(_with_search(groups), draw, xlabel="outer step", ylabel="baseline student, pass@1")


def diversity(groups: Sequence[Group]) -> str:
    """Vendi score of each outer step's questions."""
    return _over_steps(groups, lambda row: row["vendi"], "Vendi score")


def cosine_distance(groups: Sequence[Group]) -> str:
    """Mean pairwise cosine distance of each outer step's questions."""
    return _over_steps(groups, lambda row: row.get("cosine_distance"), "mean cosine distance")


def difficulty(groups: Sequence[Group]) -> str:
    """Mean level of each outer step's questions."""

    def mean_level(row: dict[str, Any]) -> float | None:
        levels = row["levels"]
        total = sum(levels.values())
        return sum(int(level) * count for level, count in levels.items()) / total if total else None

    return _over_steps(groups, mean_level, "mean level")


def topics(groups: Sequence[Group]) -> str:
    """Topic fractions of each outer step's questions, averaged over the seeds that reach the step."""
    shown = _with_search(groups)
    rows = [row for group in shown for run in _searched(group) for row in run.metrics]
    names = sorted({name for row in rows for name in row["subjects"]})[:10]
    if not names:  # not all problem sources know topics
        return ""

    def draw(axes: Any, group: Group) -> None:
        runs = _searched(group)
        length = max(len(run.metrics) for run in runs)
        shares = np.zeros((len(names), length))
        for step in range(length):
            counts = [run.metrics[step]["subjects"] for run in runs if step < len(run.metrics)]
            total = sum(sum(count.values()) for count in counts) or 1
            shares[:, step] = [sum(count.get(name, 0) for count in counts) / total for name in names]
        axes.stackplot(range(1, length + 1), shares, labels=names)
        axes.set_title(group.name, fontsize=9)
        axes.set_ylim(0, 1)

    return _panels(shown, draw, xlabel="outer step", ylabel="share of questions", legend=True)


def _over_steps(groups: Sequence[Group], value: Value, label: str) -> str:
    shown = [group for group in groups if any(value(row) is not None for run in group.runs for row in run.metrics)]

    def draw(axes: Any, group: Group) -> None:
        series = [
            [(row["outer_step"] + 1, number) for row in run.metrics if (number := value(row)) is not None]
            for run in _searched(group)
        ]
        for points in filter(None, series):
            axes.plot(*zip(*points, strict=True), color=_SEED_COLOR, linewidth=1)
        _mean_line(axes, series)
        axes.set_title(group.name, fontsize=9)
        axes.set_ylim(bottom=0)

    return _panels(shown, draw, xlabel="outer step", ylabel=label)


def _mean_line(axes: Any, series: Sequence[Sequence[tuple[int, float]]]) -> None:
    """Draws the mean where all series have a value; beyond that, runs that succeeded early would be missing."""
    known = [dict(points) for points in series if points]
    common = sorted(set.intersection(*map(set, known))) if known else []
    axes.plot(common, [np.mean([values[x] for values in known]) for x in common], color=_MEAN_COLOR, linewidth=2)


def _with_search(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if _searched(group)]


def _searched(group: Group) -> list[Run]:
    return [run for run in group.runs if run.metrics]


def _panels(
    items: Sequence[Any], draw: Callable[[Any, Any], None], xlabel: str, ylabel: str, legend: bool = False
) -> str:
    """Draws one panel per item, with shared axes; returns empty text for no items."""
    if not items:
        return ""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(_COLUMNS, len(items))
    rows = ceil_div(len(items), columns)
    # Names are data: no math in them. Text stays text. Ids differ between figures.
    style: Any = {
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": f"{xlabel} {ylabel}",
        "font.size": 8,
    }
    with pyplot.rc_context(style):
        size = (2.6 * columns + 0.4, 1.9 * rows + 0.4)
        figure, grid = pyplot.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
        for axes, item in zip(grid.flat, items, strict=False):
            draw(axes, item)
            axes.spines[["top", "right"]].set_visible(False)
        for empty in range(len(items), rows * columns):  # the panels above get the x labels
            grid.flat[empty].set_visible(False)
            grid.flat[empty - columns].tick_params(labelbottom=True)
        figure.supxlabel(xlabel, fontsize=8)
        figure.supylabel(ylabel, fontsize=8)
        if legend:
            grid.flat[0].legend(fontsize=6, loc="upper left")
        figure.tight_layout()
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
        pyplot.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]
