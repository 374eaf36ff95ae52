"""What the charts of means compare: methods on a test set, and the policies of a finding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.evaluation.statistics import mean_interval
from soar_jax.report import forest, paper
from soar_jax.report.charts import look_of
from soar_jax.report.findings import Finding, vendi_scores
from soar_jax.report.forest import Cell, Row
from soar_jax.report.read import Run
from soar_jax.report.scores import Group, comparable, ends, find, scores, seed_name
from soar_jax.report.tables import headline_policies

# Controls of a finding, which has a chart of its own, and other views of a method's students.
_CONTROLS = ("correct_only", "well_posed_only", "inference")
_OTHER_POLICIES = ("trained_teacher", "promoted")
_TESTS = {"hard_test": "hard test", "transfer": "transfer"}
_MIN_ROWS, _MIN_SEEDS = 2, 2  # of a finding's chart


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeansChart:
    """A chart of means, for a wide page and as panels for a narrow one; empty without rows."""

    rows: tuple[Row, ...]
    titles: tuple[str, ...]

    @property
    def wide(self) -> str:
        return forest.wide(self.rows, self.titles)

    @property
    def panels(self) -> tuple[str, ...]:
        return forest.narrow(self.rows, self.titles)

    @property
    def has_paper(self) -> bool:
        """Whether it has figures of the paper."""
        return any(cell.paper for row in self.rows for cell in row.cells if cell)

    @property
    def has_seeds(self) -> bool:
        """Whether it compares at least two policies that several seeds have tested."""
        return sum(row.num_seeds >= _MIN_SEEDS for row in self.rows) >= _MIN_ROWS


def headline(groups: Sequence[Group], test: str, ks: Sequence[int]) -> MeansChart:
    """Pass@k of the methods on a test set, at the smallest and the largest k."""
    return _passed(_charted_policies(groups), test, ends(ks))


def of_finding(finding: Finding, groups: Sequence[Group], ks: Sequence[int]) -> MeansChart:
    """The policies that a finding is about, in the order of the paper's tables."""
    alike = comparable(groups)[finding.variant]
    found = [
        (group, policy)
        for group in alike
        for policy in group.policies()
        if (group.method, policy) in finding.shown and group is find(alike, group.method)
    ]
    return _vendi(found) if finding.measure == "vendi" else _passed(found, "hard_test", ends(ks))


def _charted_policies(groups: Sequence[Group]) -> list[tuple[Group, str]]:
    """Selects the base model and each method's students of the table; all of its policies if there are no students."""
    listed = headline_policies(groups)
    shown = [
        (group, policy)
        for group, policy in listed
        if policy not in _OTHER_POLICIES
        and not (group.method in _CONTROLS and policy != "base")
        and not (policy == "promoted_student" and group.runs[0].source.config)  # the source's student
    ]
    return shown if any(policy != "base" for _, policy in shown) else listed


def _passed(policies: Sequence[tuple[Group, str]], test: str, ks: Sequence[int]) -> MeansChart:
    rows = []
    for group, policy in policies:
        cells = tuple(_cell(group, policy, test=test, k=k) for k in ks)
        if any(cells):
            name = "base model" if policy == "base" else group.row_name(policy)
            rows.append(Row(name=name, look=look_of(group.method, policy), cells=cells))
    return MeansChart(rows=tuple(rows), titles=tuple(f"pass@{k}, % of {_TESTS[test]} problems" for k in ks))


def _cell(group: Group, policy: str, *, test: str, k: int) -> Cell | None:
    passed = scores(group, policy, test=test, k=k)
    if passed is None:
        return None
    seeds = tuple((seed_name(seeds), float(np.mean(values))) for seeds, values in passed.by_seed.items())
    known = _paper_row(group.runs[0], group.method, policy) if test == "hard_test" else None
    return Cell(interval=passed.interval(), seeds=_several(seeds), paper=(known or {}).get(k))


def _paper_row(run: Run, method: str, policy: str) -> paper.PassAt | None:
    """The paper's figures, on a benchmark that the paper has: marks of another one would mislead in a chart."""
    if run.config.get("problems", {}).get("source", paper.MATH) not in (paper.MATH, paper.HARP, paper.OLYMPIAD):
        return None
    return paper.results(method, policy, config=run.config, source=run.source.config)


def _vendi(policies: Sequence[tuple[Group, str]]) -> MeansChart:
    """Vendi scores of the final students' questions, of sets of the size that most have."""
    found = {group.method: (group, policy, vendi_scores(group)) for group, policy in policies}
    sizes = [size for _, _, scored in found.values() for _, size in scored.values()]
    if not sizes:
        return MeansChart(rows=(), titles=())
    common = max(sorted(set(sizes)), key=sizes.count)
    rows = []
    for group, policy, scored in found.values():
        values = {seeds: value for seeds, (value, size) in scored.items() if size == common}
        if values:
            known = paper.VENDI.get((group.method, policy), {}) if common == paper.VENDI_SIZE else {}
            cell = Cell(
                interval=mean_interval([np.array([value]) for value in values.values()]),
                seeds=_several(tuple((seed_name(seeds), value) for seeds, value in values.items())),
                paper=known.get(paper.ANY),
            )
            rows.append(Row(name=group.row_name(policy), look=look_of(group.method), cells=(cell,)))
    return MeansChart(rows=tuple(rows), titles=(f"Vendi score of {common} questions",))


def _several(seeds: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    """Marks of seeds, unless the only one is the mean."""
    return seeds if len(seeds) > 1 else ()
