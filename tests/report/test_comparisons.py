import pytest

from soar_jax.report import comparisons
from soar_jax.report.findings import judge
from soar_jax.report.read import read_runs
from soar_jax.report.scores import group_runs, scores
from tests.report.conftest import write_run

KS = (1, 8, 32)


def headline(*folders):
    return comparisons.headline(group_runs(read_runs(folders)), "hard_test", KS)


def test_the_headline_has_the_students_of_each_method(study):
    found = headline(study)
    assert [row.name for row in found.rows] == [
        *("base model", "Hard-Only", "Base-T", "Intrinsic-T", "frozen teacher: PS", "frozen teacher: PQ"),
        *("Grounded-T", "SOAR: PS", "SOAR: PQ", "curated (upper bound)"),
    ]
    assert found.titles == ("pass@1, % of hard test problems", "pass@32, % of hard test problems")


def test_its_values_are_those_of_the_table(study):
    groups = group_runs(read_runs([study]))
    soar = next(group for group in groups if group.method == "soar_math")
    passed = scores(soar, "curriculum", test="hard_test", k=32)
    (row,) = (row for row in headline(study).rows if row.name == "SOAR: PQ")
    assert row.cells[1].interval == passed.interval()
    assert [value for _, value in row.cells[1].seeds] == pytest.approx([v.mean() for v in passed.by_seed.values()])


@pytest.mark.parametrize(("source", "known"), [("math", 18.9), ("harp", 12.3), ("arithmetic", None)])
def test_the_papers_figures_are_shown_for_its_benchmarks_alone(tmp_path, source, known):
    write_run(tmp_path / "run", "soar_math", 0, problems={"source": source})
    (row,) = (row for row in headline(tmp_path).rows if row.name == "SOAR: PQ")
    paper = row.cells[1].paper
    assert (paper and paper.mean) == known


def test_controls_stand_in_their_findings_chart(study, tmp_path):
    for method in ("correct_only", "inference"):
        write_run(tmp_path / method, method, 0)
    names = [row.name for row in headline(study, tmp_path).rows]
    assert not any("inference" in name or "right ones" in name for name in names)
    assert [row.name for row in headline(tmp_path / "inference").rows] == [  # but where there is nothing else
        *("base model", "SOAR, inference: PS", "SOAR, inference: trained teacher"),
    ]


def test_a_findings_chart_has_what_it_compares(study):
    groups = group_runs(read_runs([study]))
    charts = {each.title.split(".")[0]: comparisons.of_finding(each, groups, KS) for each in judge(groups, (1, 32))}
    names = {number: [row.name for row in chart.rows] for number, chart in charts.items()}
    assert names["1"] == ["Hard-Only", "SOAR: PS", "SOAR: PQ"]
    assert names["2"] == ["Base-T", "Intrinsic-T", "Grounded-T", "SOAR: PQ"]
    assert names["3b"] == ["base model", "SOAR: PS", "SOAR: trained teacher"]
    assert all(chart.has_seeds for chart in charts.values())
    vendi = {row.name: row.cells[0].interval.mean for row in charts["2b"].rows}
    assert vendi == {"Base-T": 8.0, "Intrinsic-T": 2.0, "Grounded-T": 8.0, "SOAR: PQ": 8.0}
    assert charts["2b"].titles == ("Vendi score of 32 questions",)


def test_one_seed_is_not_several(tmp_path):
    for method in ("soar_math", "hard_only"):
        write_run(tmp_path / method, method, 0)
    groups = group_runs(read_runs([tmp_path]))
    assert not any(comparisons.of_finding(each, groups, KS).has_seeds for each in judge(groups, KS))
