"""The grounded reward: common draws, waves of students, the length of episodes, and who may be promoted."""

import contextlib
import dataclasses
import weakref
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.problems import arithmetic
from soar_jax.rng import stream_key
from soar_jax.runs.build import build
from soar_jax.sampling.text import Draw
from soar_jax.soar import grounded_reward
from soar_jax.soar.grounded_reward import RewardEval, RewardEvaluator, solve_rates, take_candidate, train_students
from soar_jax.soar.inner_loop import Episode, QuestionStats
from soar_jax.soar.state import Progress, Promotion
from tests.configs import make_config


def split_of(problems):
    """A split with problems in hard train alone."""
    return HardSplit(train=tuple(problems), validation=(), test=())


def reward_eval(accuracy, has_questions=None):
    """What a step's students were measured to be, beside a baseline student of accuracy 0.1."""
    return RewardEval(
        baseline=0.1,
        students=accuracy,
        rewards=accuracy.mean(axis=1) - 0.1,
        standard_errors=np.zeros(len(accuracy)),
        has_questions=np.array([True] * len(accuracy) if has_questions is None else has_questions),
    )


@pytest.mark.parametrize(("rule", "expected"), [("step_best", "e"), ("window_best", "e"), ("step_median", "f")])
def test_the_candidate_is_one_of_the_best_datasets(monkeypatch, rule, expected):
    config = make_config(**{"outer.students_per_dataset": 3, "promotion.student": rule})
    setup = SimpleNamespace(config=config, mesh=None, sampler=SimpleNamespace(model=None))
    monkeypatch.setattr(grounded_reward, "take_student", lambda students, index, **_: students[index])
    accuracy = np.array([[0.9, 0.0, 0.0], [0.3, 0.6, 0.5]])  # the best student of all is of the worse dataset
    measured = reward_eval(accuracy)
    assert measured.best_dataset == 1
    assert take_candidate(setup, "abcdef", measured, dataset=1) == expected


def test_a_dataset_without_questions_is_never_the_best():
    """Its students are not trained: their reward is 0, and may be the largest."""
    accuracy = np.array([[0.1], [0.0], [0.05]])
    measured = reward_eval(accuracy, has_questions=[False, True, True])
    outcome = measured.outcome(step=3)
    assert (outcome.best_dataset, outcome.best_reward) == (2, pytest.approx(-0.05))
    outcome = reward_eval(accuracy, has_questions=[False] * 3).outcome(step=3)
    assert (outcome.best_dataset, outcome.best_reward) == (None, 0.0)


@pytest.mark.parametrize("at_once", [0, 3, 6])
def test_waves_keep_the_candidate_of_the_best_dataset(monkeypatch, at_once):
    """Of three datasets the second one; its median student is the fifth of nine, whatever the waves."""
    accuracy = np.array([[0.9, 0.0, 0.0], [0.2, 0.5, 0.8], [0.4, 0.4, 0.4]])
    changes = {"outer.num_datasets": 3, "outer.students_per_dataset": 3, "promotion.student": "step_median"}
    config = make_config(**changes | {"inner.students_at_once": at_once} if at_once != 6 else changes)
    shown = []
    setup = SimpleNamespace(
        config=config,
        mesh=None,
        sampler=SimpleNamespace(model=None),
        show_progress=lambda *progress: shown.append(progress),
    )
    plans, living = [], []

    def train_population(setup, start, question_sets, plan, report):
        plans.append(plan)
        report(plan.num_steps, 0.25)
        students = np.arange(plan.first_student, plan.first_student + len(question_sets))
        shape = (len(plan.learning_rates), len(question_sets))
        episode = Episode(
            stats=QuestionStats(asked=[students] * len(students), agreed=[students] * len(students)),
            mean_rewards=np.tile(students, (shape[0], 1)),
            right_shares=np.zeros(shape),
            has_signal=np.zeros(shape, bool),
            indicators={"mismatch": np.tile(students / 10, (shape[0], 1))},
            shown=tuple(SimpleNamespace(pick=-student) for student in students.tolist()),
        )
        states = States(students)
        living.append(weakref.ref(states))
        return states, episode

    class States:
        def __init__(self, weights):
            self.weights = weights

    class Evaluator:
        def __init__(self, *_, **__):
            pass

        def evaluate(self, students, baseline, question_sets):
            assert (baseline, len(question_sets)) == ("baseline", len(students))
            assert all(states() is None for states in living)  # the optimisers are freed
            return reward_eval(accuracy.ravel()[students].reshape(-1, 3))

    monkeypatch.setattr(grounded_reward, "train_population", train_population)
    monkeypatch.setattr(grounded_reward, "RewardEvaluator", Evaluator)
    monkeypatch.setattr(grounded_reward, "changed_shares", lambda weights, *_, **__: np.zeros(len(weights)))
    monkeypatch.setattr(grounded_reward, "take_student", lambda students, index, **_: students[index])
    trained = train_students(
        setup, "baseline", ((),) * 9, split=None, progress=Progress(outer_step=2), phase=contextlib.nullcontext
    )
    assert trained.candidate == 4
    np.testing.assert_array_equal(trained.measured.students, accuracy)
    episode = trained.episode
    np.testing.assert_array_equal(episode.mean_rewards[0], np.arange(9))
    assert episode.mean_rewards.shape == episode.right_shares.shape == episode.has_signal.shape == (10, 9)
    assert [plan.indices for plan in plans] == [(2,)] * len(plans)
    np.testing.assert_array_equal(episode.indicators["mismatch"][9], np.arange(9) / 10)
    assert [answer.pick for answer in episode.shown] == sorted(-student for student in range(9))
    assert shown == [
        ("student steps", 10 * wave, 10 * len(plans), "mean reward 0.25") for wave in range(1, len(plans) + 1)
    ]


def test_episodes_become_longer_with_promotions(monkeypatch):
    """The learning rate falls over an episode's own steps, after the students' warm-up."""
    changes = {"inner.steps_per_promotion": 5, "inner.max_steps": 18, "student.schedule": "linear"}
    config = make_config(**changes, **{"student.warmup_steps": 2, "student.learning_rate": 1.0})
    setup, plans = SimpleNamespace(config=config), []

    def train_population(setup, start, question_sets, plan, report):
        plans.append(plan)
        raise StopIteration

    monkeypatch.setattr(grounded_reward, "train_population", train_population)
    monkeypatch.setattr(grounded_reward, "RewardEvaluator", lambda *_, **__: None)
    promotion = Promotion(outer_step=0, source_step=0, dataset=0, reward=0.0, validation_accuracy=0.0, questions=())
    for count in range(4):
        progress = Progress(outer_step=7, promotions=(promotion,) * count)
        with pytest.raises(StopIteration):
            train_students(setup, "", ((),) * 8, split=None, progress=progress, phase=contextlib.nullcontext)
    assert [len(plan.learning_rates) for plan in plans] == [10, 15, 18, 18]
    for plan in plans:
        expected = np.array([0.0, 0.5, *np.linspace(1, 0, len(plan.learning_rates) - 1)[:-1]])
        np.testing.assert_allclose(plan.learning_rates, expected, rtol=1e-6)


def test_solve_rates_are_over_all_students_of_a_dataset():
    is_valid = np.array([[True, False, True], [False, False, False]])
    asked = [np.array(row) for row in ([4, 0], [8, 0], [4], [4])]  # students of the second dataset have no questions
    agreed = [np.array(row) for row in ([1, 0], [5, 0], [0], [0])]
    rates = solve_rates(QuestionStats(asked=asked, agreed=agreed), is_valid, repeats=2)
    np.testing.assert_array_equal(rates, [[0.5, np.nan, np.nan], [np.nan] * 3])


def test_the_standard_error_is_over_reward_questions(nano_setup):
    """Of one dataset with two students, against the formula for the mean of paired differences."""
    solved = np.array([[4, 0, 2, 1], [4, 1, 2, 3], [3, 0, 1, 2]])  # two students, then the baseline, of 4 answers
    evaluator = SimpleNamespace(count_correct=lambda *_, **__: solved)
    config = make_config(
        **{"outer.students_per_dataset": 2, "outer.num_reward_questions": 4, "outer.reward_samples": 4}
    )
    setup = dataclasses.replace(nano_setup, config=config, evaluator=evaluator)
    problems = arithmetic.generate_problems(np.random.default_rng(0), (1, 2), 4)
    measured = RewardEvaluator(setup, split_of(problems), step=0).evaluate(None, None, [("question",)] * 2)
    gains = np.array([1.0, 0.5, 1.0, 0.0]) / 4
    assert measured.rewards == pytest.approx([gains.mean()])
    assert measured.standard_errors == pytest.approx([gains.std(ddof=1) / np.sqrt(4)])


@pytest.mark.slow
def test_unmoved_students_have_reward_zero(nano_model, make_questions):
    """On any number of devices: the baseline and its unchanged copies make the same draws."""
    questions = make_questions(1, level=1)
    problems = arithmetic.generate_problems(np.random.default_rng(0), (1, 2), 8)  # some of them solved
    counts = []
    for num_devices in (1, 2):
        config = make_config(
            **{
                "mesh.population": num_devices,
                "outer.num_datasets": 2,
                "outer.num_reward_questions": 8,
                "evaluation.problems_per_call": 4,  # fewer than are evaluated: the draw is made in parts
            }
        )
        setup = build(config, nano_model)
        copies = jax.tree.map(lambda leaf: np.stack([leaf] * 2), jax.device_get(setup.base_weights))
        evaluator = RewardEvaluator(setup, split_of(problems), step=0)
        measured = evaluator.evaluate(copies, setup.base_weights, [questions, ()])
        assert measured.baseline > 0.2
        np.testing.assert_array_equal(measured.rewards, [0.0, 0.0])
        np.testing.assert_array_equal(measured.standard_errors, [0.0, 0.0])
        np.testing.assert_array_equal(measured.has_questions, [True, False])
        draw = Draw(key=stream_key(0, "x"), settings=setup.evaluation_sampling(1.0), num_samples=4)
        counts.append(setup.evaluator.count_correct(setup.base_weights, problems, draw))
    np.testing.assert_array_equal(*counts)


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 2])
def test_waves_of_students_equal_all_students_at_once(nano_model, make_questions, repeats):
    questions = make_questions(4, level=3)
    question_sets = (questions[:1],) * repeats + (questions[1:],) * repeats
    split = split_of(arithmetic.generate_problems(np.random.default_rng(1), (2, 3), 4))
    changes = {
        "mesh.population": 1,
        "outer.num_datasets": 2,
        "outer.students_per_dataset": repeats,
        "outer.num_reward_questions": 4,
        "outer.reward_samples": 4,
        "inner.num_steps": 2,
        "inner.questions_per_step": 2,
        "inner.group_size": 4,
        "student.learning_rate": 1e-2,  # students come apart
    }
    results = []
    for at_once in (0, repeats):
        setup = build(make_config(**changes, **{"inner.students_at_once": at_once}), nano_model)
        trained = train_students(
            setup, setup.base_weights, question_sets, split=split, progress=Progress(), phase=contextlib.nullcontext
        )
        results.append(jax.device_get(dataclasses.asdict(trained)))
    students = results[0]["measured"]["students"]
    assert students.shape == (2, repeats)
    assert len({*students.ravel()}) > 1
    jax.tree.map(np.testing.assert_array_equal, *results)
