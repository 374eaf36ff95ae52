"""Curated problems, beside a hard split of the arithmetic world."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.config.cross_rules import ARITHMETIC
from soar_jax.errors import SettingsError
from soar_jax.evaluation.hard_subset import split_hard
from soar_jax.problems import arithmetic, sources
from soar_jax.soar import curated
from soar_jax.types import Problem
from tests.configs import make_config


def make_setup(**changes):
    """The parts of a setup that curated problems need."""
    sampler = SimpleNamespace(fits=lambda question: "too long" not in question)
    steps = {"final.num_steps": 60, "inner.questions_per_step": 8, "curriculum.schedule": "then_hard"}
    config = make_config("curated", **steps | changes)
    return SimpleNamespace(config=config, sampler=sampler)


@pytest.fixture(scope="module")
def split():
    return split_hard(arithmetic.generate_problems(np.random.default_rng(0), (4, 6), 60), 0, 0.25)


def questions(problems):
    return {problem.question for problem in problems}


def hard_questions(split):
    split.test.unseal()
    return questions((*split.train, *split.validation, *split.test.problems))


def write_math(path, *levels, prefix="p"):
    rows = (
        {"problem": f"{prefix} {number}", "answer": "1", "type": "t", "level": level}
        for number, level in enumerate(levels)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def math(tmp_path):
    """The keys of curated problems from a benchmark of 4 problems of level 1 and 6 of level 2."""
    path = write_math(tmp_path / "math.jsonl", *[1] * 4, *[2] * 6)
    return {"curriculum.curated_source": "math", "curriculum.curated_path": path, "curriculum.levels": (1, 2)}


MIXED = {"curriculum.schedule": "mixed"}


def test_levels_are_new_and_easy_to_hard(split):
    stages = curated.load(make_setup(**{"curriculum.levels": (2, 4)}), split)
    assert [name for name, _ in stages] == ["level 2", "level 4"]
    for (_, problems), level in zip(stages, (2, 4), strict=True):
        assert len(problems) == 80
        assert {problem.level for problem in problems} == {level}
        assert not questions(problems) & hard_questions(split)


def test_the_problems_own_are_as_before(split):
    """Numbers of recorded runs rest on this order."""
    ((_, found),) = curated.load(make_setup(**{"curriculum.levels": (4,)}), split)
    drawn = sources.load_problems(make_setup().config.problems, "curated", 80 + 60, (4,))
    hard = hard_questions(split)
    assert found == [problem for problem in drawn if problem.question not in hard][:80]


def test_other_schedules_have_one_pool_for_all_training(split):
    ((name, problems),) = curated.load(make_setup(**MIXED), split)
    assert name == "curated"
    assert len(problems) == 60 * 8
    assert {problem.level for problem in problems} == {3, 4, 5, 6}


def test_a_number_is_drawn_over_all_levels(split):
    stages = curated.load(make_setup(**{"curriculum.num_curated": 10, "curriculum.levels": (3, 5)}), split)
    assert [(name, len(problems)) for name, problems in stages] == [("level 3", 5), ("level 5", 5)]
    twice = curated.load(make_setup(**{"curriculum.num_curated": 10, "curriculum.levels": (3, 3)}), split)
    assert [(name, len(problems)) for name, problems in twice] == [("level 3", 10)]
    ((_, pool),) = curated.load(
        make_setup(**MIXED, **{"curriculum.num_curated": 10, "curriculum.levels": (3, 5)}), split
    )
    assert len(pool) == 10
    assert questions(pool) == questions(stages[0][1]) | questions(stages[1][1])
    ((_, again),) = curated.load(make_setup(**MIXED, **{"curriculum.num_curated": 10, "problems.seed": 9}), split)
    assert questions(again) != questions(pool)


def test_another_source_than_the_problems(split, math):
    stages = curated.load(make_setup(**math), split)
    assert [(name, len(problems)) for name, problems in stages] == [("level 1", 4), ("level 2", 6)]
    ((_, pool),) = curated.load(make_setup(**math, **MIXED), split)
    assert questions(pool) == {f"p {number}" for number in range(10)}
    ((_, some),) = curated.load(make_setup(**MIXED, **math | {"curriculum.num_curated": 3}), split)
    assert len(some) == 3


def test_no_levels_are_all_levels(split, math):
    changes = math | MIXED | {"curriculum.levels": (), "problems.source": "math", "transfer.source": "none"}
    changes["problems.path"] = math["curriculum.curated_path"]
    changes |= {"analysis.judge": "none", "curriculum.num_curated": 10}
    ((_, pool),) = curated.load(make_setup(**changes), split)
    assert len(pool) == 10


def test_hard_problems_of_another_source_are_left_out(math):
    """The same question has another id there."""

    def hard(number):
        return Problem(id=f"harp-{number}", question=f"P  {number}\n", answer="1", subject="", level=1)

    split = split_hard([hard(number) for number in range(6)], 0, 1 / 3)
    ((_, pool),) = curated.load(make_setup(**math, **MIXED), split)
    assert questions(pool) == {f"p {number}" for number in range(6, 10)}


@pytest.mark.parametrize(("wanted", "found"), [(11, 10), (128, 10)])
def test_too_few_are_refused_before_the_run(math, wanted, found):
    config = make_setup(**math, **{"curriculum.num_curated": wanted}).config
    message = f"num_curated is {wanted}, but .*math.jsonl has only {found} problems of levels 1, 2; lower it"
    with pytest.raises(SettingsError, match=message):
        curated.check(config)


def test_too_few_beside_hard_ones_are_refused(math, split, tmp_path):
    write_math(tmp_path / "math.jsonl", *[1] * 4, *[2] * 6, prefix="too long")
    write_math(tmp_path / "more.jsonl", 1, 2)
    with (tmp_path / "math.jsonl").open("a") as file:
        file.write((tmp_path / "more.jsonl").read_text())
    setup = make_setup(**math, **{"curriculum.num_curated": 3})
    curated.check(setup.config)
    with pytest.raises(SettingsError, match="has only 2 problems of levels 1, 2 that are not hard and fit a prompt"):
        curated.load(setup, split)


def test_unknown_levels_and_files_are_refused_before_the_run(math):
    curated.check(make_setup(**math).config)
    with pytest.raises(SettingsError, match=r"no problem of levels \(3,\); it has levels 1, 2$"):
        curated.check(make_setup(**math | {"curriculum.levels": (1, 3)}).config)
    with pytest.raises(SettingsError, match="there is no benchmark file no/file"):
        curated.check(make_setup(**math | {"curriculum.curated_path": "no/file"}).config)


def test_other_curricula_read_no_curated_problems():
    curated.check(make_config(**{"curriculum.curated_source": "math", "curriculum.curated_path": "no/file"}))


def test_a_level_with_hard_problems_alone_is_refused(tmp_path):
    path = write_math(tmp_path / "rows.jsonl", *[1] * 8)
    changes = {"curriculum.curated_source": "math", "curriculum.curated_path": path, "curriculum.levels": (1,)}
    setup = make_setup(**changes)
    everything = sources.load_problems(curated.section(setup.config), "problems", 8, (1,))
    with pytest.raises(SettingsError, match=r"all problems of level 1 in .* are in the hard subset"):
        curated.load(setup, split_hard(everything, 0, 0.25))


def test_problems_that_fit_no_prompt_are_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [f'{{"question": "{n} {"too long" * (n % 3 > 0)}", "answer": "#### {n}"}}\n' for n in range(27)]
    path.write_text("".join(lines))
    changes = {"curriculum.curated_source": "gsm8k", "curriculum.curated_path": str(path), "curriculum.levels": (1,)}
    setup = make_setup(**changes, **{"inner.num_steps": 1, "inner.questions_per_step": 3})
    problems = sources.load_problems(curated.section(setup.config), "problems", 27, (1,))
    hard = [problem for problem in problems if problem.question.strip() in ("0", "3", "6", "9", "12", "15")]
    ((_, found),) = curated.load(setup, split_hard(hard, 0, 0.25))
    assert sorted(problem.question.strip() for problem in found) == ["18", "21", "24"]


def test_the_section_of_nano_is_that_of_its_problems():
    config = make_config("curated")
    assert curated.section(config) is config.problems
    assert config.problems.source == ARITHMETIC
