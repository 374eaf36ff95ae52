"""Questions of the final students, on a hard split of the arithmetic world."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.errors import SettingsError
from soar_jax.evaluation.hard_subset import split_hard
from soar_jax.problems import arithmetic, sources
from soar_jax.soar import curricula
from soar_jax.soar.curricula import Stage
from soar_jax.soar.state import Progress, Promotion, SearchResult
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

DIAL = arithmetic.Dial(digits=(3, 1, 4), operations=("rotate",)).text()


def make_setup(**changes):
    """The parts of a setup that curricula use."""
    sampler = SimpleNamespace(fits=lambda question: "too long" not in question)
    steps = {"final.num_steps": 60, "inner.questions_per_step": 8, "curriculum.schedule": "then_hard"}
    return SimpleNamespace(config=make_config(**steps | changes), sampler=sampler)


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


def test_a_warm_start_is_one_pool_of_all_questions_then_hard_train(split):
    setup = make_setup(**WARM_START)
    pool, hard = curricula.with_hard_train(setup, (stage(("a", "1")), stage(("b", "2"), ("c", "3"))), split)
    assert ("".join(item.question for item in pool.questions), pool.num_steps, pool.is_synthetic) == ("abc", 24, True)
    assert (hard.name, hard.num_steps, hard.is_synthetic) == ("hard train", 36, False)
    assert {item.question for item in hard.questions} == {problem.question for problem in split.train}


def test_a_warm_start_drops_no_stage(split):
    assert len(method_stages(make_setup(**WARM_START), split, *map(promotion, range(1, 9)))) == 8


@pytest.mark.parametrize("stages", [(), (stage(),)])
def test_a_warm_start_without_questions_is_hard_train_from_the_start(stages, split):
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


def test_true_answers_need_a_source_that_has_them(monkeypatch):
    monkeypatch.setattr(sources, "facts", lambda *_: None)
    with pytest.raises(SettingsError, match="cannot tell true answers"):
        curricula.with_true_answers(make_setup(), (stage((DIAL, "1")),))
