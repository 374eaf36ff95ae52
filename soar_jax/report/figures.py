"""Figures over steps: the search, the questions on its way, and the learning curves of final students."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from soar_jax.evaluation.statistics import mean_bands
from soar_jax.report import charts
from soar_jax.report.charts import End, Frame, Look, Point, look_of
from soar_jax.report.read import Run
from soar_jax.report.scores import Group, seed_name
from soar_jax.report.tables import AVERAGED_STEPS, moving_average

_SHOWN_RUNS = 6  # panels of the search before a reader asks for more
_SHOWN_TOPICS = len(charts.HUES) - 1
_MEANS = "Line: mean over seeds, up to the last step that all reach; band: its 95% interval."
# Indicators of training in rows of metrics: key without its prefix, title, name of the y axis.
_INDICATORS = (
    ("entropy_estimate", "entropy", "nats per token"),
    ("truncated_share", "truncated", "share of completions"),
    ("completion_tokens", "length", "tokens"),
    ("grad_norm", "gradient", "norm before clipping"),
    ("mismatch_kl", "sampler against update", "KL per token"),
    ("reference_kl", "KL to the reference", "KL per token"),
)
Row = dict[str, Any]
Value = Callable[[Row], float | None]
Series = Sequence[Point]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels under one title; `more` are those that a reader opens."""

    title: str
    note: str
    panels: tuple[str, ...]
    more: tuple[str, ...] = ()


def of_search(groups: Sequence[Group]) -> list[Figure]:
    """Figures over outer steps; those without values are left out."""
    made = (rewards(groups), baselines(groups), questions(groups), topics(groups), training(groups))
    return [figure for figure in made if figure.panels]


def of_students(groups: Sequence[Group], k: int) -> list[Figure]:
    """Figures over student steps; those without values are left out."""
    made = (learning_curves(groups), test_curves(groups, k))
    return [figure for figure in made if figure.panels]


def rewards(groups: Sequence[Group]) -> Figure:
    """The teacher's reward over outer steps: a panel per run, first those of SOAR and others with promotions."""
    searched = [group for group in groups if _with_rewards(group)]
    searched.sort(key=lambda group: (not _has_promotion(group), group.method != "soar_math"))
    panels = [panel for group in searched for panel in _reward_panels(group)]
    return Figure(
        title="Search and exploitation",
        note=(
            f"The teacher's reward over outer steps. Thin: mean of a step; bold: mean of {AVERAGED_STEPS} steps; "
            "dotted with a number: a promotion; dashed: the promotion threshold. The reward rises while the teacher "
            "finds questions that help, and falls when the promoted student has learnt from them (the paper's Figure "
            "19)."
        ),
        panels=tuple(panels[:_SHOWN_RUNS]),
        more=tuple(panels[_SHOWN_RUNS:]),
    )


def _has_promotion(group: Group) -> bool:
    return any(row["promoted"] for run in group.runs for row in run.metrics)


def _with_rewards(group: Group) -> list[Run]:
    return [run for run in _searched(group) if all("mean_reward" in row for row in run.metrics)]


def _reward_panels(group: Group) -> Iterable[str]:
    runs = _with_rewards(group)
    values = [row["mean_reward"] for run in runs for row in run.metrics]
    y = charts.value_axis(min(0.0, *values), max(0.0, *values), most=4)
    for run in runs:
        steps = _steps(run)
        frame = Frame(x=charts.step_axis(steps[0], steps[-1]), y=y, top=52)
        mean = [row["mean_reward"] for row in run.metrics]
        averages = moving_average(mean)
        color = look_of(group.method).color
        marks = [
            *_threshold(frame, run),
            charts.line(frame, list(zip(steps, mean, strict=True)), f"seed {color}"),
            charts.line(frame, list(zip(steps[-len(averages) :], averages, strict=True)), f"curve {color}"),
            *_promotions(frame, run),
        ]
        yield charts.panel(frame, f"{group.name}, {seed_name(run.seeds)}", ("outer step", "mean reward"), marks=marks)


def _threshold(frame: Frame, run: Run) -> list[str]:
    """The bound that the moving average must exceed, where the run has one inside the panel."""
    section = run.config.get("promotion")
    bound = section.get("threshold") if isinstance(section, dict) and section.get("rule") != "never" else None
    if not isinstance(bound, int | float) or not frame.y.low < bound < frame.y.high:
        return []
    return [charts.rule(frame.at((frame.x.low, bound)), frame.at((frame.x.high, bound)), "threshold")]


def _promotions(frame: Frame, run: Run) -> list[str]:
    """Numbered lines at the steps of promotions; a number that would touch the one before is left out."""
    parts, edge = [], 0.0
    promoted = [step for step, row in zip(_steps(run), run.metrics, strict=True) if row["promoted"]]
    for number, step in enumerate(promoted, 1):
        x, floor = frame.at((step, frame.y.low))
        parts.append(charts.rule((x, frame.top - 4), (x, floor), "promotion"))
        if x > edge:
            parts.append(charts.text((x, frame.top - 8), str(number), "middle"))
            edge = x + 14
    return parts


def baselines(groups: Sequence[Group]) -> Figure:
    """Accuracy of the baseline student over outer steps: a panel per method that promoted students."""
    promoting = [group for group in groups if _has_promotion(group)]
    top = max((100 * row["validation_accuracy"] for g in promoting for run in g.runs for row in run.metrics), default=1)
    panels = []
    for group in promoting:
        frame = Frame(x=_step_axis(group), y=charts.value_axis(0, top))
        color, marks = look_of(group.method).color, []
        for run in _searched(group):
            points = [
                (step, 100 * row["validation_accuracy"]) for step, row in zip(_steps(run), run.metrics, strict=True)
            ]
            kind = "seed" if len(_searched(group)) > 1 else "curve"
            marks.append(charts.line(frame, _stairs(points), f"{kind} {color}"))
            dots = [point for point, row in zip(points, run.metrics, strict=True) if row["promoted"]]
            marks += [
                charts.dot(frame.at(point), 3, "promoted", tip=f"{seed_name(run.seeds)}: {point[1]:.1f}")
                for point in dots
            ]
        panels.append(charts.panel(frame, group.name, ("outer step", "baseline student, pass@1 in %"), marks=marks))
    return Figure(
        title="Baseline student",
        note="The student that others start from, on hard validation problems, or on hard train where there are none. "
        "A line per seed; a dot per promotion.",
        panels=tuple(panels),
    )


def _stairs(points: Series) -> Series:
    """The corners of a line that keeps its value until the next step."""
    corners = list(points[:1])
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners


def questions(groups: Sequence[Group]) -> Figure:
    """Diversity and difficulty of each outer step's questions: a panel per measure, a line per method."""

    def mean_level(row: Row) -> float | None:
        total = sum(row["levels"].values())
        return sum(int(level) * count for level, count in row["levels"].items()) / total if total else None

    panels = (
        _over_steps(groups, lambda row: row["vendi"], title="Diversity", name="Vendi score"),
        _over_steps(
            groups, lambda row: row.get("cosine_distance"), title="Distance", name="mean pairwise cosine distance"
        ),
        _over_steps(groups, mean_level, title="Difficulty", name="mean level"),
    )
    return Figure(
        title="Questions over the search",
        note=(
            f"Of each outer step's questions. {_MEANS} With the model's own embeddings the cosine distance is about 1 "
            "for the untrained teacher, whose mean question is their origin."
        ),
        panels=tuple(filter(None, panels)),
    )


def _over_steps(groups: Sequence[Group], value: Value, *, title: str, name: str) -> str:
    """A panel with a line per method and its name at the line's end; empty text without values."""
    known = [(group, *_mean(series)) for group in groups if (series := _series(group, value))]
    means = [(group, steps, values) for group, steps, values in known if steps]
    if not means:
        return ""
    bands = [mean_bands(values) for _, _, values in means]
    top = max(float(high.max()) for _, high in bands)
    last = max(steps[-1] for _, steps, _ in means)
    first = min(steps[0] for _, steps, _ in means)
    room = 90 + charts.label_height(group.name for group, _, _ in means)
    frame = Frame(
        x=charts.step_axis(first, last, most=4),
        y=charts.value_axis(0, top, most=4),
        right=charts.LABEL_ROOM,
        height=max(charts.PANEL_HEIGHT, room),
    )
    areas, marks, ends = [], [], []
    for (group, steps, values), (low, high) in zip(means, bands, strict=True):
        look, mean = look_of(group.method), values.mean(axis=0).tolist()
        if len(values) > 1:
            areas.append(charts.area(frame, _points(steps, low), _points(steps, high), classes=f"band {look.color}"))
        marks.append(charts.line(frame, _points(steps, mean), f"curve {look.color} {look.dash}"))
        ends.append(End(point=(steps[-1], mean[-1]), name=group.name, look=look))
    return charts.panel(frame, title, ("outer step", name), marks=[*areas, *marks, *charts.end_labels(frame, ends)])


def _series(group: Group, value: Value) -> list[Series]:
    """For each run that has any, the values of its outer steps."""
    found = [
        [
            (step, float(number))
            for step, row in zip(_steps(run), run.metrics, strict=True)
            if (number := value(row)) is not None
        ]
        for run in _searched(group)
    ]
    return [points for points in found if points]


def _mean(series: Sequence[Series]) -> tuple[list[float], np.ndarray]:
    """Steps at which all series have a value, and those values, [series, steps].

    Beyond those steps a mean would miss the runs that succeeded early.
    """
    known = [dict(points) for points in series]
    steps = sorted(set.intersection(*map(set, known)))
    return steps, np.array([[values[step] for step in steps] for values in known])


def _points(steps: Sequence[float], values: Iterable[float]) -> Series:
    return list(zip(steps, values, strict=True))


def training(groups: Sequence[Group]) -> Figure:
    """Indicators of the students' and the teacher's training over outer steps: a panel each, a line per method."""
    signal = _over_steps(groups, _indicator("inner_signal_share"), title="Students: signal", name="share of groups")
    students, teachers = (
        [
            _over_steps(groups, _indicator(prefix + key), title=f"{who}: {title}", name=name)
            for key, title, name in _INDICATORS
        ]
        for prefix, who in (("inner_", "Students"), ("teacher_", "Teacher"))
    )
    return Figure(
        title="Training",
        note=(
            "Of each outer step: means over the students' steps and the students, and the teacher's update. A group "
            f"has a signal where its answers have different rewards. {_MEANS}"
        ),
        panels=tuple(filter(None, (signal, *students))),
        more=tuple(filter(None, teachers)),
    )


def _indicator(key: str) -> Value:
    return lambda row: row.get(key)


def topics(groups: Sequence[Group]) -> Figure:
    """Topic fractions of each outer step's questions, over the seeds that reach the step: a panel per method."""
    shown = [group for group in groups if any(row["subjects"] for run in group.runs for row in run.metrics)]
    totals: dict[str, int] = {}
    for row in (row for group in shown for run in _searched(group) for row in run.metrics):
        for name, count in row["subjects"].items():
            totals[name] = totals.get(name, 0) + count
    names = sorted(sorted(totals), key=lambda name: -totals[name])[:_SHOWN_TOPICS]
    return Figure(
        title="Topics",
        note="Of each outer step's questions, over the seeds that reach it, in percent.",
        panels=tuple(_topic_panel(group, names, has_others=len(totals) > len(names)) for group in shown),
    )


def _topic_panel(group: Group, names: Sequence[str], has_others: bool) -> str:
    runs = _searched(group)
    steps = range(1, max(len(run.metrics) for run in runs) + 1)
    counts = [[run.metrics[step - 1]["subjects"] for run in runs if step <= len(run.metrics)] for step in steps]
    totals = [sum(sum(count.values()) for count in found) or 1 for found in counts]
    frame = Frame(
        x=charts.step_axis(1, steps[-1], most=4), y=charts.value_axis(0, 100, most=4), right=charts.LABEL_ROOM
    )
    floor, marks, ends = np.zeros(len(steps)), [], []
    for name, hue in zip(names, charts.HUES, strict=False):
        found = [sum(count.get(name, 0) for count in at_step) for at_step in counts]
        roof = floor + 100 * np.divide(found, totals)
        marks.append(charts.area(frame, _points(steps, floor), _points(steps, roof), classes=f"area {hue}"))
        if (roof - floor)[-1] > 0:
            ends.append(End(point=(steps[-1], float(floor[-1] + roof[-1]) / 2), name=name, look=Look(color=hue)))
        floor = roof
    if has_others and floor[-1] < 100:
        ends.append(End(point=(steps[-1], float(floor[-1] + 100) / 2), name="others", look=Look(color="grey")))
    return charts.panel(
        frame, group.name, ("outer step", "questions, %"), marks=[*marks, *charts.end_labels(frame, ends)]
    )


def learning_curves(groups: Sequence[Group]) -> Figure:
    """Validation accuracy of all kinds of final students over student steps."""

    def accuracy(point: Row) -> float | None:
        return 100 * float(np.mean(point["validation"])) if "validation" in point else None

    return Figure(
        title="Final students on hard validation problems",
        note="Thin: seeds; bold: their mean, where all have a value; shaded: steps on synthetic questions.",
        panels=_curves(groups, accuracy, "validation, pass@1 in %"),
    )


def test_curves(groups: Sequence[Group], k: int) -> Figure:
    """Pass@k on hard test problems of final students over student steps, where they were tested on the way."""

    def passed(point: Row) -> float | None:
        value = point.get("tests", {}).get("hard_test", {}).get(f"pass@{k}")
        return None if value is None else 100 * float(value)

    return Figure(
        title="Final students on hard test problems",
        note="Tests on the way; nothing is chosen by them. Lines as above.",
        panels=_curves(groups, passed, f"hard test, pass@{k} in %"),
    )


def _curves(groups: Sequence[Group], value: Value, name: str) -> tuple[str, ...]:
    """A panel for each kind of final students whose curve has several values; y axes are the same."""
    kinds = []
    for group, policy in ((each, policy) for each in groups for policy in each.policies()):
        curves = [run.results[policy]["curve"] for run in group.runs if policy in run.results]
        series = [
            [(point["student_steps"], y) for point in curve if (y := value(point)) is not None] for curve in curves
        ]
        if any(len(points) > 1 for points in series):
            kinds.append((group, policy, [points for points in series if points], _switches(curves)))
    top = max((y for _, _, series, _ in kinds for points in series for _, y in points), default=1)
    y_axis = charts.value_axis(0, top)
    return tuple(_curve_panel(*kind, y_axis=y_axis, name=name) for kind in kinds)


def _switches(curves: Sequence[Sequence[Row]]) -> list[int]:
    """The last steps on synthetic questions."""
    last = [max((point["student_steps"] for point in curve if point["is_synthetic"]), default=0) for curve in curves]
    return sorted(set(last) - {0})


def _curve_panel(
    group: Group, policy: str, series: Sequence[Series], switches: Sequence[int], *, y_axis: charts.Axis, name: str
) -> str:
    known = [step for points in series for step, _ in points]
    frame = Frame(x=charts.step_axis(min(known), max(known)), y=y_axis)
    look = look_of(group.method, policy)
    low, high = y_axis.low, y_axis.high
    start = frame.x.low
    marks = [
        charts.area(frame, [(start, low), (end, low)], [(start, high), (end, high)], classes="shade")
        for end in switches
        if start < end <= frame.x.high
    ]
    marks += [charts.line(frame, points, f"seed {look.color}") for points in series]
    steps, values = _mean(series)
    marks += [charts.line(frame, _points(steps, values.mean(axis=0)), f"curve {look.color}")] if steps else []
    return charts.panel(frame, group.row_name(policy), ("student steps", name), marks=marks)


def _searched(group: Group) -> list[Run]:
    return [run for run in group.runs if run.metrics]


def _steps(run: Run) -> list[int]:
    return [row["outer_step"] + 1 for row in run.metrics]


def _step_axis(group: Group) -> charts.Axis:
    steps = [step for run in _searched(group) for step in _steps(run)]
    return charts.step_axis(min(steps), max(steps))
