"""The paper's figures beside runs."""

import itertools

import pytest

from soar_jax.config.methods import METHODS
from soar_jax.report import paper
from soar_jax.report.paper import MeanSd


def config(benchmark="math", model="meta-llama/Llama-3.2-3B-Instruct", **sections):
    return {"problems": {"source": benchmark}, "model": {"source": model}} | sections


def test_figures_grow_with_k():
    tables = [table.values() for table in (*paper.RESULTS.values(), paper.TWO_TURN)]
    for row in itertools.chain(*tables):
        means = [row[k].mean for k in paper.PASS_AT]
        assert means == sorted(means)
        assert all(0 <= figure.sd <= figure.mean for figure in row.values())


def test_keys_name_methods_of_this_project():
    assert {method for rows in paper.RESULTS.values() for method, *_ in rows} - {paper.ANY} <= set(METHODS)
    assert {method for method, _ in (*paper.QUESTIONS, *paper.VENDI)} <= set(METHODS)


def test_shares_of_judged_questions_add_up():
    for judged in paper.QUESTIONS.values():
        wrong = judged.arithmetic + judged.logic + judged.ill_posed + judged.ambiguous
        assert judged.right + wrong == pytest.approx(100, abs=3)


@pytest.mark.parametrize(
    ("method", "policy", "benchmark", "at_1", "at_32"),
    [
        ("serl", "base", "harp", (0.2, 0.0), (6.4, 0.0)),
        ("hard_only", "hard_only", "math", (0.5, 0.1), (9.6, 2.6)),
        ("soar_math", "hard_only", "math", (0.5, 0.1), (9.6, 2.6)),
        ("hard_only_large_group", "hard_only", "math", (1.4, 1.0), (12.4, 7.4)),
        ("promotion_questions", "curriculum", "harp", (0.7, 0.3), (12.3, 2.0)),
        ("inference", "promoted_student", "math", (1.0, 0.2), (18.1, 2.4)),
        ("inference", "trained_teacher", "math", (0.3, 0.0), (8.3, 1.1)),
        ("grounded_teacher", "curriculum", "math", (1.6, 0.5), (19.1, 3.7)),
        ("intrinsic_teacher", "curriculum", "olympiadbench", (0.4, 0.3), (9.1, 5.2)),
        ("curated_128", "curriculum", "olympiadbench", (1.0, 0.1), (14.6, 1.4)),
        ("curated", "curriculum", "arithmetic", (2.7, 0.2), (22.0, 2.4)),  # MATH's, where the paper has no table
    ],
)
def test_a_run_stands_beside_its_benchmark(method, policy, benchmark, at_1, at_32):
    row = paper.results(method, policy, config=config(benchmark), source={})
    assert [(row[k].mean, row[k].sd) for k in (1, 32)] == [at_1, at_32]


@pytest.mark.parametrize(
    ("method", "policy", "benchmark"),
    [
        ("no_promotion", "curriculum", "math"),
        ("triangle_teacher", "curriculum", "math"),
        ("hard_only_large_group", "hard_only", "harp"),
        ("inference", "trained_teacher", "olympiadbench"),
        ("soar_math", "promoted", "math"),
        ("promotion_questions", "curriculum", "olympiadbench"),  # of an unknown benchmark
    ],
)
def test_rows_that_the_paper_does_not_have(method, policy, benchmark):
    assert paper.results(method, policy, config=config(benchmark), source={}) is None


def test_transferred_questions_are_named_by_their_benchmark():
    for source, method in itertools.product(("math", "harp"), ("promotion_questions", "grounded_teacher")):
        found = paper.results(method, "curriculum", config=config("olympiadbench"), source=config(source))
        key = {"promotion_questions": "soar_math"}.get(method, method)
        assert found is paper.RESULTS["olympiadbench"][key, "curriculum", source]
    own = paper.results("promotion_questions", "curriculum", config=config("math"), source=config("math"))
    assert own is paper.RESULTS["math"]["soar_math", "curriculum"]


def test_steps_of_self_play_have_rows_of_their_own():
    first, last = (
        paper.results("serl", "self_play", config=config(), source={}, steps=steps) for steps in paper.SERL_STEPS
    )
    assert (first[32].mean, last[32].mean) == (12.2, 12.4)


def test_the_larger_model_has_its_own_table():
    large = config(model="meta-llama/Llama-3.1-8B-Instruct")
    assert paper.results("grounded_teacher", "curriculum", config=large, source={})[32] == MeanSd(mean=13.7, sd=2.7)
    assert paper.results("soar_math", "curriculum", config=large, source={}) is None


def test_sampled_sets_of_other_sizes_are_not_compared():
    sized = config(curriculum={"num_questions": 64})
    assert paper.results("grounded_teacher", "curriculum", config=sized, source={}) is None
    two_turns = config(teacher={"turns": 2}, outer={"questions_per_dataset": 32})
    assert paper.results("grounded_teacher", "curriculum", config=sized, source=two_turns) is paper.TWO_TURN[32, 64]
