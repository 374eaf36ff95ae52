import dataclasses
import json
import re

import pytest

from soar_jax.report import figures
from soar_jax.report.read import read_runs
from soar_jax.report.scores import group_runs
from tests.report.conftest import write_run


@pytest.fixture(scope="module")
def groups(study):
    return group_runs(read_runs([study]))


def titles(figure):
    return [re.search(r'class="title">([^<]*)<', panel)[1] for panel in (*figure.panels, *figure.more)]


def test_the_reward_has_a_panel_per_run_with_its_promotions(groups):
    found = figures.rewards(groups)
    assert titles(found)[:4] == ["SOAR, seed 0", "SOAR, seed 1", "SOAR, seed 2", "Intrinsic-T, seed 0"]
    assert (len(found.panels), len(found.more)) == (6, 3)
    panel = found.panels[0]
    (place,) = re.findall(r'class="promotion" x1="([\d.]+)"', panel)
    ticks = dict(re.findall(r'x="([\d.]+)" y="[\d.]+" class="middle dim">(\d)<', panel))
    assert ticks[place] == "3"  # the third outer step
    thin, bold = (re.search(rf'class="{kind} blue" points="([^"]*)"', panel)[1].split() for kind in ("seed", "curve"))
    assert (len(thin), len(bold)) == (6, 4)  # a mean of three steps begins at the third


def test_the_threshold_is_drawn_where_it_lies_in_the_panel(tmp_path):
    for number, section in enumerate(
        ({"threshold": 0.01}, {"threshold": 5.0}, {"threshold": 0.01, "rule": "never"}, 3)
    ):
        write_run(tmp_path / str(number), "soar_math", number, promotion=section)
    groups = group_runs(read_runs([tmp_path]))
    panels = figures.rewards(groups).panels
    assert [("seed 0" in panel, 'class="threshold"' in panel) for panel in panels].count((True, True)) == 1
    assert sum('class="threshold"' in panel for panel in panels) == 1


def test_lines_of_methods_are_labelled_at_their_ends(groups):
    diversity = figures.questions(groups).panels[0]
    assert [name in diversity for name in ("SOAR<", "Intrinsic-T<", "frozen teacher<")] == [True] * 3
    assert diversity.count('class="band') == 3
    assert "legend" not in diversity


def test_means_end_where_the_first_seed_ends(tmp_path):
    for seed, num_steps in ((0, 4), (1, 6)):
        write_run(tmp_path / str(seed), "soar_math", seed, num_steps=num_steps)
    groups = group_runs(read_runs([tmp_path]))
    line = re.search(r'class="curve blue solid" points="([^"]*)"', figures.questions(groups).panels[0])[1]
    assert len(line.split()) == 4


def test_seeds_without_a_common_step_have_no_mean(tmp_path):
    for seed in range(2):
        write_run(tmp_path / str(seed), "soar_math", seed)
        path = tmp_path / str(seed) / "metrics.jsonl"
        path.write_text(path.read_text().splitlines()[seed] + "\n")
    assert figures.questions(group_runs(read_runs([tmp_path]))).panels == ()


def test_panels_without_values_are_left_out(groups):
    plain = [
        dataclasses.replace(
            group,
            runs=tuple(
                dataclasses.replace(
                    run, metrics=[row | {"subjects": {}, "levels": {}, "promoted": False} for row in run.metrics]
                )
                for run in group.runs
            ),
        )
        for group in groups
    ]
    found = {figure.title: figure for figure in figures.of_search(plain)}
    assert list(found) == ["Search and exploitation", "Questions over the search", "Training"]
    assert titles(found["Questions over the search"]) == ["Diversity", "Distance"]


def test_learning_curves_have_a_panel_per_kind_of_student(groups):
    found = figures.learning_curves(groups)
    assert {"Hard-Only", "SOAR: PQ", "SOAR: PQ, true answers", "curated (upper bound)"} <= set(titles(found))
    soar = found.panels[titles(found).index("SOAR: PQ")]
    assert soar.count('class="seed blue"') == 3
    assert soar.count('class="curve blue"') == 1
    assert 'class="shade"' in soar


@pytest.mark.parametrize(("num_tests", "num_panels"), [(0, 0), (1, 0), (2, 1)])
def test_a_single_test_is_no_curve(tmp_path, num_tests, num_panels):
    write_run(tmp_path / "run", "curated", 0)
    path = tmp_path / "run" / "results" / "curriculum.json"
    result = json.loads(path.read_text())
    for point in result["curve"][:num_tests]:
        point["tests"] = {"hard_test": {"pass@32": 0.5}}
    path.write_text(json.dumps(result))
    assert len(figures.test_curves(group_runs(read_runs([tmp_path])), 32).panels) == num_panels


def test_rare_topics_are_others(groups):
    many = {f"topic {number}": 20 - number for number in range(12)}
    searched = next(group for group in groups if group.method == "soar_math")
    runs = tuple(
        dataclasses.replace(run, metrics=[row | {"subjects": many} for row in run.metrics]) for run in searched.runs
    )
    (panel,) = figures.topics([dataclasses.replace(searched, runs=runs)]).panels
    assert panel.count('class="area') == 7
    assert ">others<" in panel
    assert ">topic 7<" not in panel


def test_a_single_outer_step_is_drawn(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0, num_steps=1)
    for figure in figures.of_search(group_runs(read_runs([tmp_path]))):
        assert all("nan" not in panel for panel in figure.panels)


def test_indicators_of_training_have_a_panel_each(groups):
    found = figures.training(groups)
    assert titles(found) == ["Students: signal", "Students: entropy", "Teacher: entropy"]
    assert len(found.more) == 1
    line = re.search(r'class="curve blue solid" points="([^"]*)"', found.panels[0])[1]
    assert len(line.split()) == 6
