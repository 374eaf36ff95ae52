"""What the final students are taught, on a real hard split of the arithmetic world."""

from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from configs.soar_math import get_config
from soar_jax.evaluation.hard_subset import split_hard
from soar_jax.problems import arithmetic
from soar_jax.settings import SettingsError
from soar_jax.soar import curricula
from soar_jax.soar.curricula import Stage
from soar_jax.soar.state import Progress, Promotion
from soar_jax.types import QuestionAnswer


class Setup:
    """As much of a setup as the syllabus looks at."""

    def __init__(self, **overrides):
        config = get_config()
        config.final.num_steps = 60
        config.update_from_flattened_dict(overrides)
        self.config = ml_collections.FrozenConfigDict(config)
        self.sampler = SimpleNamespace(fits=lambda question: "too long" not in question)


@pytest.fixture(scope="module")
def split():
    return split_hard(arithmetic.generate_problems(np.random.default_rng(0), (4, 6), 60), 0, 0.25)


DIAL = arithmetic.Dial(digits=(3, 1, 4), operations=("rotate",)).text()


def stage(*pairs, name="one", steps=10):
    return Stage(
        name=name,
        questions=tuple(QuestionAnswer(question=pair[0], answer=pair[1]) for pair in pairs),
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


def test_promotion_questions_come_in_the_order_of_their_promotions(split):
    progress = Progress(promotions=(promotion(1), promotion(2)))
    stages = curricula.method_stages(Setup(), None, progress=progress, split=split)
    assert [(each.name, each.questions[0].question, each.num_steps) for each in stages] == [
        ("promotion 1", "question 1", 10),
        ("promotion 2", "question 2", 10),
    ]


def test_curated_problems_are_true_new_and_easy_to_hard(split):
    setup = Setup(**{"curriculum.source": "curated", "curriculum.levels": (2, 4)})
    stages = curricula.method_stages(setup, None, progress=Progress(), split=split)
    split.test.unseal()
    hard = {problem.question for problem in (*split.train, *split.validation, *split.test.problems)}
    for each, level in zip(stages, (2, 4), strict=True):
        assert len(each.questions) == 80
        for item in each.questions:
            facts = arithmetic.facts(item.question)
            assert (facts.subject, facts.level, facts.true_answer) == ("dial", level, item.answer)
            assert item.question not in hard


def test_stages_that_students_have_no_time_for_are_left_out(split):
    progress = Progress(promotions=tuple(map(promotion, range(1, 9))))
    stages = curricula.method_stages(Setup(), None, progress=progress, split=split)
    assert [each.name for each in stages] == [f"promotion {number}" for number in range(1, 7)]
    assert (
        len(curricula.method_stages(Setup(**{"curriculum.schedule": "mixed"}), None, progress=progress, split=split))
        == 8
    )


def test_curated_problems_are_a_whole_training_of_each_level_in_the_mixed_schedule(split):
    setup = Setup(**{"curriculum.source": "curated", "curriculum.levels": (4,), "curriculum.schedule": "mixed"})
    (stage_of_level,) = curricula.method_stages(setup, None, progress=Progress(), split=split)
    assert len(stage_of_level.questions) == 60 * 8


@pytest.fixture
def rows(tmp_path):
    """A benchmark of one level."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"question": "{n} + {n}", "answer": "#### {2 * n}"}}\n' for n in range(8)))
    return {"curriculum.source": "curated", "problems.source": "gsm8k", "problems.path": str(path)}


def test_curated_levels_that_do_not_exist_are_refused_before_the_run(rows):
    curricula.check_curated(Setup(**rows, **{"curriculum.levels": (1,)}).config)
    with pytest.raises(SettingsError, match=r"no problem of levels \(2,\); it has levels 1$"):
        curricula.check_curated(Setup(**rows, **{"curriculum.levels": (1, 2)}).config)


def test_a_level_whose_problems_are_all_hard_gives_no_curated_ones(rows):
    setup = Setup(**rows, **{"curriculum.levels": (1,)})
    everything = curricula.loading.load_problems(setup.config.problems, "problems", 8, (1,))
    with pytest.raises(SettingsError, match=r"all problems of level 1 in .* are in the hard subset"):
        curricula.method_stages(setup, None, progress=Progress(), split=split_hard(everything, 0, 0.25))


def test_curated_problems_that_cannot_be_asked_are_left_out(rows, tmp_path):
    lines = [f'{{"question": "{n} {"too long" * (n % 3 > 0)}", "answer": "#### {n}"}}\n' for n in range(27)]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    setup = Setup(**rows, **{"curriculum.levels": (1,), "inner.num_steps": 1, "inner.questions_per_step": 3})
    problems = curricula.loading.load_problems(setup.config.problems, "problems", 27, (1,))
    hard = [problem for problem in problems if problem.question.strip() in ("0", "3", "6", "9", "12", "15")]
    (stage_of_level,) = curricula.method_stages(setup, None, progress=Progress(), split=split_hard(hard, 0, 0.25))
    assert sorted(item.question.strip() for item in stage_of_level.questions) == ["18", "21", "24"]


def test_hard_train_fills_up_to_the_common_number_of_steps(split):
    stages = tuple(stage(("q", "1"), name=f"promotion {number}") for number in range(6))
    for given, names in (
        (stages[:2], ["promotion 0", "promotion 1", "hard train"]),
        (stages, [f"promotion {number}" for number in range(6)]),
        ((), ["hard train"]),
    ):
        full = curricula.with_hard_train(Setup(), given, split)
        assert [each.name for each in full] == names
        assert sum(each.num_steps for each in full) == 60
    assert [each.num_steps for each in curricula.with_hard_train(Setup(), (), split, steps_before=40)] == [20]
    for steps_before in (60, 80):
        assert curricula.with_hard_train(Setup(), (), split, steps_before=steps_before) == ()
    hard = curricula.with_hard_train(Setup(), (), split)[0]
    assert {item.question for item in hard.questions} == {problem.question for problem in split.train}
    assert not hard.is_synthetic


def test_the_mixed_schedule_is_one_pool(split):
    setup = Setup(**{"curriculum.schedule": "mixed"})
    (pool,) = curricula.with_hard_train(setup, (stage(("q", "1")),), split)
    assert len(pool.questions) == 1 + len(split.train)
    assert pool.num_steps == 60


def test_true_answers_replace_the_teachers():
    given = stage((DIAL, "9 9 9"), ("coin 1 2 3 . . . . . . . .", "1"), ("nonsense", "7"))
    (mended,) = curricula.with_true_answers(Setup(), (given,))
    assert mended.questions == (QuestionAnswer(question=DIAL, answer="1 4 3"),)


def test_random_answers_keep_the_form_and_depend_on_the_seed_alone():
    given = stage(*[(DIAL, "1 4 3")] * 50, ("q", "no digit"))
    (first,), (again,), (other,) = (curricula.with_random_answers(Setup(seed=seed), (given,)) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first.questions) == 50
    assert all(len(item.answer) == 5 and set(item.answer[::2]) <= set("0123456789") for item in first.questions)
    assert sum(item.answer == "1 4 3" for item in first.questions) <= 2


def test_true_answers_need_a_source_that_knows(monkeypatch):
    monkeypatch.setattr(curricula.loading, "facts", lambda *_: None)
    with pytest.raises(SettingsError, match="cannot tell true answers"):
        curricula.with_true_answers(Setup(), (stage((DIAL, "1")),))
