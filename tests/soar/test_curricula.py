"""Questions of the final students, on a hard split of the arithmetic world."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.config.cross_rules import ARITHMETIC
from soar_jax.errors import SettingsError
from soar_jax.evaluation.hard_subset import split_hard
from soar_jax.problems import arithmetic, sources
from soar_jax.soar import curricula
from soar_jax.soar.curricula import Stage
from soar_jax.soar.state import Progress, Promotion, SearchResult
from soar_jax.types import Problem, QuestionAnswer
from tests.configs import make_config

DIAL = arithmetic.Dial(digits=(3, 1, 4), operations=("rotate",)).text()


def make_setup(method="soar_math", **changes):
    """The parts of a setup that curricula use."""
    sampler = SimpleNamespace(fits=lambda question: "too long" not in question)
    steps = {"final.num_steps": 60, "inner.questions_per_step": 8, "curriculum.schedule": "then_hard"}
    return SimpleNamespace(config=make_config(method, **steps | changes), sampler=sampler)


@pytest.fixture(scope="module")
def split():
    return split_hard(arithmetic.generate_problems(np.random.default_rng(0), (4, 6), 60), 0, 0.25)


def method_stages(setup, split, *promotions):
    search = SearchResult(arrays=None, progress=Progress(promotions=promotions), split=split)
    return curricula.method_stages(setup, search)


def stage(*pairs, name="one", steps=10):
    return Stage(
        name=name,
        questions=tuple(QuestionAnswer(question=question, answer=answer) for question, answer in pairs),
        num_steps=steps,
        is_synthetic=True,
    )


def promotion(number):
    return Promotion(
        outer_step=number,
        source_step=number,
        dataset=0,
        reward=0.1,
        validation_accuracy=0.1,
        questions=((f"question {number}", "1"),),
    )


def test_promotion_questions_are_in_order_of_promotion(split):
    stages = method_stages(make_setup(), split, promotion(1), promotion(2))
    assert [(each.name, each.questions[0].question, each.num_steps) for each in stages] == [
        ("promotion 1", "question 1", 10),
        ("promotion 2", "question 2", 10),
    ]


def test_a_promotion_without_questions_has_no_stage(split):
    """As where `curriculum.keep` leaves none."""
    empty = dataclasses.replace(promotion(1), questions=())
    assert [each.name for each in method_stages(make_setup(), split, empty, promotion(2))] == ["promotion 2"]


def test_curated_problems_are_questions_with_true_answers(split):
    stages = method_stages(make_setup(**{"curriculum.source": "curated", "curriculum.levels": (2, 4)}), split)
    assert [(each.name, len(each.questions)) for each in stages] == [("level 2", 80), ("level 4", 80)]
    for each in stages:
        assert all(arithmetic.facts(item.question).true_answer == item.answer for item in each.questions)


def test_teacher_questions_are_cut_into_datasets(split, monkeypatch):
    written = tuple(QuestionAnswer(question=letter, answer="1") for letter in "abcde")
    asked = []
    monkeypatch.setattr(curricula, "sample_questions", lambda setup, *asked_for: asked.append(asked_for) or written)
    setup = make_setup(
        **{"curriculum.source": "teacher", "outer.questions_per_dataset": 2, "curriculum.num_questions": 5}
    )
    arrays = SimpleNamespace(teacher=SimpleNamespace(weights="teacher"))
    stages = curricula.method_stages(setup, SearchResult(arrays=arrays, progress=Progress(), split=split))
    assert asked == [("teacher", 5)]
    assert [(each.name, "".join(item.question for item in each.questions)) for each in stages] == [
        ("dataset 1", "ab"),
        ("dataset 2", "cd"),
        ("dataset 3", "e"),
    ]


def test_stages_beyond_the_last_step_are_dropped(split):
    promotions = map(promotion, range(1, 9))
    stages = method_stages(make_setup(), split, *promotions)
    assert [each.name for each in stages] == [f"promotion {number}" for number in range(1, 7)]


def test_the_mixed_schedule_drops_no_stage(split):
    mixed = make_setup(**{"curriculum.schedule": "mixed"})
    assert len(method_stages(mixed, split, *map(promotion, range(1, 9)))) == 8


@pytest.mark.parametrize(("kind", "key"), [("source", "curriculum.source"), ("schedule", "curriculum.schedule")])
def test_an_unknown_curriculum_is_refused(kind, key):
    with pytest.raises(SettingsError, match=f"{key} is 'books'; choose one of"):
        make_setup(**{key: "books"})
    registry = {"source": curricula.CURRICULA, "schedule": curricula.SCHEDULES}[kind]
    with pytest.raises(SettingsError, match=f"{key} is 'books'; choose one of {', '.join(registry)}$"):
        registry["books"]


def test_hard_train_fills_up_to_the_common_steps(split):
    setup = make_setup()
    stages = tuple(stage(("q", "1"), name=f"promotion {number}") for number in range(6))
    for given, names in (
        (stages[:2], ["promotion 0", "promotion 1", "hard train"]),
        (stages, [f"promotion {number}" for number in range(6)]),
        ((), ["hard train"]),
    ):
        full = curricula.with_hard_train(setup, given, split)
        assert [each.name for each in full] == names
        assert sum(each.num_steps for each in full) == 60
    assert [each.num_steps for each in curricula.with_hard_train(setup, (), split, steps_before=40)] == [20]
    for steps_before in (60, 80):
        assert curricula.with_hard_train(setup, (), split, steps_before=steps_before) == ()
    hard = curricula.with_hard_train(setup, (), split)[0]
    assert {item.question for item in hard.questions} == {problem.question for problem in split.train}
    assert not hard.is_synthetic


def test_the_mixed_schedule_is_one_pool(split):
    setup = make_setup(**{"curriculum.schedule": "mixed"})
    (pool,) = curricula.with_hard_train(setup, (stage(("q", "1")),), split)
    assert len(pool.questions) == 1 + len(split.train)
    assert pool.num_steps == 60


WARM_START = {"curriculum.schedule": "warm_start", "curriculum.warm_start_steps": 24}


def test_a_warm_start_is_all_questions_then_hard_train(split):
    setup = make_setup(**WARM_START)
    pool, hard = curricula.with_hard_train(setup, (stage(("a", "1")), stage(("b", "2"), ("c", "3"))), split)
    assert ("".join(item.question for item in pool.questions), pool.num_steps, pool.is_synthetic) == ("abc", 24, True)
    assert (hard.name, hard.num_steps, hard.is_synthetic) == ("hard train", 36, False)
    assert {item.question for item in hard.questions} == {problem.question for problem in split.train}


def test_a_warm_start_drops_no_stage(split):
    assert len(method_stages(make_setup(**WARM_START), split, *map(promotion, range(1, 9)))) == 8


@pytest.mark.parametrize("stages", [(), (stage(),)])
def test_a_warm_start_without_questions_is_hard_train(stages, split):
    (hard,) = curricula.with_hard_train(make_setup(**WARM_START), stages, split)
    assert (hard.num_steps, hard.is_synthetic) == (60, False)


def test_a_warm_start_may_last_all_training(split):
    (pool,) = curricula.with_hard_train(
        make_setup(**WARM_START, **{"final.num_steps": 24}), (stage(("a", "1")),), split
    )
    assert (pool.num_steps, pool.is_synthetic) == (24, True)


@pytest.mark.parametrize(
    ("schedule", "stages", "steps"),
    [("warm_start", (stage(("a", "1")),), 0), ("warm_start", (), 7), ("mixed", (stage(("a", "1")),), 7)],
)
def test_only_a_warm_start_has_no_warmup(schedule, stages, steps, split):
    setup = make_setup(**WARM_START | {"curriculum.schedule": schedule, "final.warmup_steps": 7})
    assert curricula.warmup_steps(setup.config, curricula.with_hard_train(setup, stages, split)) == steps


def test_true_answers_replace_the_teachers():
    given = stage((DIAL, "9 9 9"), ("coin 1 2 3 . . . . . . . .", "1"), ("nonsense", "7"))
    (mended,) = curricula.with_true_answers(make_setup(), (given,))
    assert mended.questions == (QuestionAnswer(question=DIAL, answer="1 4 3"),)


def test_random_answers_keep_their_form():
    """They depend on the seed alone, and answers without a digit are dropped."""
    given = stage(*[(DIAL, "1 4 3")] * 50, ("q", "no digit"))
    (first,), (again,), (other,) = (
        curricula.with_random_answers(make_setup(seed=seed), (given,)) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert len(first.questions) == 50
    assert all(len(item.answer) == 5 and set(item.answer[::2]) <= set("0123456789") for item in first.questions)
    assert sum(item.answer == "1 4 3" for item in first.questions) <= 2


def make_curated_setup(**changes):
    return make_setup("curated", **changes)


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
    stages = curricula.load_curated(make_curated_setup(**{"curriculum.levels": (2, 4)}), split)
    assert [name for name, _ in stages] == ["level 2", "level 4"]
    for (_, problems), level in zip(stages, (2, 4), strict=True):
        assert len(problems) == 80
        assert {problem.level for problem in problems} == {level}
        assert not questions(problems) & hard_questions(split)


def test_the_problems_own_are_as_before(split):
    """Numbers of recorded runs rest on this order."""
    ((_, found),) = curricula.load_curated(make_curated_setup(**{"curriculum.levels": (4,)}), split)
    drawn = sources.load_problems(make_curated_setup().config.problems, "curated", 80 + 60, (4,))
    hard = hard_questions(split)
    assert found == [problem for problem in drawn if problem.question not in hard][:80]


def test_other_schedules_have_one_pool_for_all_training(split):
    ((name, problems),) = curricula.load_curated(make_curated_setup(**MIXED), split)
    assert name == "curated"
    assert len(problems) == 60 * 8
    assert {problem.level for problem in problems} == {3, 4, 5, 6}


def test_a_number_is_drawn_over_all_levels(split):
    stages = curricula.load_curated(
        make_curated_setup(**{"curriculum.num_curated": 10, "curriculum.levels": (3, 5)}), split
    )
    assert [(name, len(problems)) for name, problems in stages] == [("level 3", 5), ("level 5", 5)]
    twice = curricula.load_curated(
        make_curated_setup(**{"curriculum.num_curated": 10, "curriculum.levels": (3, 3)}), split
    )
    assert [(name, len(problems)) for name, problems in twice] == [("level 3", 10)]
    ((_, pool),) = curricula.load_curated(
        make_curated_setup(**MIXED, **{"curriculum.num_curated": 10, "curriculum.levels": (3, 5)}), split
    )
    assert len(pool) == 10
    assert questions(pool) == questions(stages[0][1]) | questions(stages[1][1])
    ((_, again),) = curricula.load_curated(
        make_curated_setup(**MIXED, **{"curriculum.num_curated": 10, "problems.seed": 9}), split
    )
    assert questions(again) != questions(pool)


def test_another_source_than_the_problems(split, math):
    stages = curricula.load_curated(make_curated_setup(**math), split)
    assert [(name, len(problems)) for name, problems in stages] == [("level 1", 4), ("level 2", 6)]
    ((_, pool),) = curricula.load_curated(make_curated_setup(**math, **MIXED), split)
    assert questions(pool) == {f"p {number}" for number in range(10)}
    ((_, some),) = curricula.load_curated(make_curated_setup(**MIXED, **math | {"curriculum.num_curated": 3}), split)
    assert len(some) == 3


def test_no_levels_are_all_levels(split, math):
    changes = math | MIXED | {"curriculum.levels": (), "problems.source": "math", "transfer.source": "none"}
    changes["problems.path"] = math["curriculum.curated_path"]
    changes |= {"analysis.judge": "none", "curriculum.num_curated": 10}
    ((_, pool),) = curricula.load_curated(make_curated_setup(**changes), split)
    assert len(pool) == 10


def test_hard_problems_of_another_source_are_left_out(math):
    """The same question has another id there."""

    def hard(number):
        return Problem(id=f"harp-{number}", question=f"P  {number}\n", answer="1", subject="", level=1)

    split = split_hard([hard(number) for number in range(6)], 0, 1 / 3)
    ((_, pool),) = curricula.load_curated(make_curated_setup(**math, **MIXED), split)
    assert questions(pool) == {f"p {number}" for number in range(6, 10)}


@pytest.mark.parametrize(("wanted", "found"), [(11, 10), (128, 10)])
def test_too_few_are_refused_before_the_run(math, wanted, found):
    config = make_curated_setup(**math, **{"curriculum.num_curated": wanted}).config
    message = f"num_curated is {wanted}, but .*math.jsonl has only {found} problems of levels 1, 2; lower it"
    with pytest.raises(SettingsError, match=message):
        curricula.check_curated(config)


def test_too_few_beside_hard_ones_are_refused(math, split, tmp_path):
    write_math(tmp_path / "math.jsonl", *[1] * 4, *[2] * 6, prefix="too long")
    write_math(tmp_path / "more.jsonl", 1, 2)
    with (tmp_path / "math.jsonl").open("a") as file:
        file.write((tmp_path / "more.jsonl").read_text())
    setup = make_curated_setup(**math, **{"curriculum.num_curated": 3})
    curricula.check_curated(setup.config)
    with pytest.raises(SettingsError, match="has only 2 problems of levels 1, 2 that are not hard and fit a prompt"):
        curricula.load_curated(setup, split)


def test_unknown_levels_and_files_are_refused_before_the_run(math):
    curricula.check_curated(make_curated_setup(**math).config)
    with pytest.raises(SettingsError, match=r"no problem of levels \(3,\); it has levels 1, 2$"):
        curricula.check_curated(make_curated_setup(**math | {"curriculum.levels": (1, 3)}).config)
    with pytest.raises(SettingsError, match="there is no benchmark file no/file"):
        curricula.check_curated(make_curated_setup(**math | {"curriculum.curated_path": "no/file"}).config)


def test_other_curricula_read_no_curated_problems():
    curricula.check_curated(make_config(**{"curriculum.curated_source": "math", "curriculum.curated_path": "no/file"}))


def test_a_level_with_hard_problems_alone_is_refused(tmp_path):
    path = write_math(tmp_path / "rows.jsonl", *[1] * 8)
    changes = {"curriculum.curated_source": "math", "curriculum.curated_path": path, "curriculum.levels": (1,)}
    setup = make_curated_setup(**changes)
    everything = sources.load_problems(curricula.curated_section(setup.config), "problems", 8, (1,))
    with pytest.raises(SettingsError, match=r"all problems of level 1 in .* are in the hard subset"):
        curricula.load_curated(setup, split_hard(everything, 0, 0.25))


def test_problems_that_fit_no_prompt_are_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [f'{{"question": "{n} {"too long" * (n % 3 > 0)}", "answer": "#### {n}"}}\n' for n in range(27)]
    path.write_text("".join(lines))
    changes = {"curriculum.curated_source": "gsm8k", "curriculum.curated_path": str(path), "curriculum.levels": (1,)}
    setup = make_curated_setup(**changes, **{"inner.num_steps": 1, "inner.questions_per_step": 3})
    problems = sources.load_problems(curricula.curated_section(setup.config), "problems", 27, (1,))
    hard = [problem for problem in problems if problem.question.strip() in ("0", "3", "6", "9", "12", "15")]
    ((_, found),) = curricula.load_curated(setup, split_hard(hard, 0, 0.25))
    assert sorted(problem.question.strip() for problem in found) == ["18", "21", "24"]


def test_the_section_of_nano_is_that_of_its_problems():
    config = make_config("curated")
    assert curricula.curated_section(config) is config.problems
    assert config.problems.source == ARITHMETIC
