"""The grounded reward: common draws, waves of students, and the best student."""

import contextlib
import dataclasses
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
from soar_jax.soar.grounded_reward import RewardEval, RewardEvaluator, best_student, solve_rates, train_students
from soar_jax.soar.inner_loop import QuestionStats
from tests.configs import make_config


def split_of(problems):
    """A split with problems in hard train alone."""
    return HardSplit(train=tuple(problems), validation=(), test=())


def test_the_best_student_is_one_of_the_best_datasets(monkeypatch):
    setup = SimpleNamespace(
        config=make_config(**{"outer.students_per_dataset": 3}), mesh=None, sampler=SimpleNamespace(model=None)
    )
    monkeypatch.setattr(grounded_reward, "take_student", lambda students, index, **_: students[index])
    accuracy = np.array([[0.9, 0.0, 0.0], [0.4, 0.5, 0.4]])  # the best student of all is of the worse dataset
    measured = RewardEval(baseline=0.1, students=accuracy, rewards=accuracy.mean(axis=1) - 0.1)
    assert best_student(setup, "abcdef", measured) == "e"


def test_solve_rates_are_over_all_students_of_a_dataset():
    is_valid = np.array([[True, False, True], [False, False, False]])
    asked = [np.array(row) for row in ([4, 0], [8, 0], [4], [4])]  # students of the second dataset have no questions
    agreed = [np.array(row) for row in ([1, 0], [5, 0], [0], [0])]
    rates = solve_rates(QuestionStats(asked=asked, agreed=agreed), is_valid, repeats=2)
    np.testing.assert_array_equal(rates, [[0.5, np.nan, np.nan], [np.nan] * 3])


def test_unmoved_students_have_reward_zero(nano_model):
    """On any number of devices: the baseline and its unchanged copies make the same draws."""
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
        evaluator = RewardEvaluator(setup, setup.base_weights, split_of(problems), step=0)
        measured = evaluator.evaluate(copies, 2)
        assert measured.baseline > 0.2
        np.testing.assert_array_equal(measured.rewards, [0.0, 0.0])
        draw = Draw(key=stream_key(0, "x"), settings=setup.evaluation_sampling(1.0), num_samples=4)
        counts.append(setup.evaluator.count_correct(setup.base_weights, problems, draw))
    np.testing.assert_array_equal(*counts)


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
            setup, setup.base_weights, question_sets, split=split, step=0, phase=contextlib.nullcontext
        )
        results.append(jax.device_get(dataclasses.asdict(trained)))
    students = results[0]["measured"]["students"]
    assert students.shape == (2, repeats)
    assert len({*students.ravel()}) > 1
    jax.tree.map(np.testing.assert_array_equal, *results)
