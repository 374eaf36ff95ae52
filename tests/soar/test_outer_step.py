"""Promotion bookkeeping and the reward's common draws."""

import contextlib
import dataclasses
from types import SimpleNamespace

import jax
import ml_collections
import numpy as np
import pytest

from configs.soar_math import get_config
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.problems import arithmetic
from soar_jax.rng import stream_key
from soar_jax.runs import build as setups
from soar_jax.soar import outer_step, promotion
from soar_jax.soar.inner_loop import Curriculum, QuestionStats
from soar_jax.soar.state import Progress, RunArrays
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer


def policy(value):
    return {"w": np.float32(value)}


def step_parts(step, rewards):
    """Datasets and trained students of a step; student k of step s is the policy 10 s + k."""
    items = tuple((QuestionAnswer(question=f"q{step}.{k}", answer=f"a{step}.{k}"), None) for k in range(len(rewards)))
    measured = outer_step.Measured(baseline=0.0, students=np.array(rewards)[:, None], rewards=np.array(rewards))
    best = policy(10 * step + int(np.argmax(rewards)))
    return Datasets(rollouts=None, items=items), outer_step.Trained(
        stats=QuestionStats(asked=[], agreed=[]), mean_rewards=np.zeros((0, 0)), measured=measured, best=best
    )


@pytest.mark.parametrize("student", ["window_best", "step_best"])
def test_the_promoted_student_comes_with_its_own_questions(monkeypatch, student):
    rule = promotion.PromotionSettings(
        threshold=0.01, window=3, statistic="best", student=student, needs_step_reward=True
    )
    setup = SimpleNamespace(promotion=rule)
    monkeypatch.setattr(outer_step, "validation_accuracy", lambda setup, params, split: float(params["w"]) / 100)
    base = policy(-1)
    arrays = RunArrays(teacher=None, baseline=base, best=base, window=(base,) * (2 if student == "window_best" else 0))
    progress = Progress()
    for step, rewards in enumerate([(0.0, 0.02), (0.6, 0.1), (0.0, 0.3)]):
        progress = dataclasses.replace(progress, outer_step=step)
        arrays, progress, _, promoted = outer_step._promote(setup, arrays, progress, None, *step_parts(step, rewards))
        assert (promoted is None) == (step < 2)
    step, dataset = (1, 0) if student == "window_best" else (2, 1)
    assert (promoted.source_step, promoted.dataset) == (step, dataset)
    assert promoted.questions == ((f"q{step}.{dataset}", f"a{step}.{dataset}"),)
    assert float(arrays.baseline["w"]) == 10 * step + dataset == float(arrays.best["w"])
    assert progress.window == progress.window_questions == ()
    assert progress.baseline_validation == (10 * step + dataset) / 100


def test_the_best_baseline_on_validation_is_kept_for_the_test(monkeypatch):
    rule = promotion.PromotionSettings(
        threshold=-1.0, window=1, statistic="best", student="step_best", needs_step_reward=False
    )
    setup = SimpleNamespace(promotion=rule)
    accuracy = iter([0.5, 0.2, 0.5])
    monkeypatch.setattr(outer_step, "validation_accuracy", lambda *_: next(accuracy))
    base = policy(-1)
    arrays, progress = RunArrays(teacher=None, baseline=base, best=base, window=()), Progress()
    kept = []
    for step in range(3):
        progress = dataclasses.replace(progress, outer_step=step)
        arrays, progress, *_ = outer_step._promote(setup, arrays, progress, None, *step_parts(step, (0.1, 0.0)))
        kept.append((float(arrays.best["w"]), progress.best_promotion))
    assert kept == [(0.0, 1), (0.0, 1), (20.0, 3)]


def test_the_best_student_is_one_of_the_best_datasets(monkeypatch):
    setup = SimpleNamespace(
        config=SimpleNamespace(outer=SimpleNamespace(students_per_dataset=3)),
        mesh=None,
        sampler=SimpleNamespace(model=None),
    )
    monkeypatch.setattr(outer_step, "take_student", lambda students, index, **_: students[index])
    accuracy = np.array([[0.9, 0.0, 0.0], [0.4, 0.5, 0.4]])  # the best student of all is of the worse dataset
    measured = outer_step.Measured(baseline=0.1, students=accuracy, rewards=accuracy.mean(axis=1) - 0.1)
    assert outer_step.best_student(setup, "abcdef", measured) == "e"


def test_solve_rates_are_over_all_students_of_a_dataset():
    setup = SimpleNamespace(config=SimpleNamespace(outer=SimpleNamespace(students_per_dataset=2)))
    is_valid = np.array([[True, False, True], [False, False, False]])
    asked = [np.array(row) for row in ([4, 0], [8, 0], [4], [4])]  # students of the second dataset are asked nothing
    agreed = [np.array(row) for row in ([1, 0], [5, 0], [0], [0])]
    rates = outer_step._solve_rates(setup, QuestionStats(asked=asked, agreed=agreed), is_valid)
    np.testing.assert_array_equal(rates, [[0.5, np.nan, np.nan], [np.nan] * 3])


def test_students_that_did_not_move_have_reward_zero_on_any_number_of_devices():
    """The baseline and its unchanged copies make the same draws."""
    problems = tuple(arithmetic.generate_problems(np.random.default_rng(0), (1, 2), 8))  # some of them solved
    counts = []
    for num_devices in (1, 2):
        config = get_config()
        config.mesh.population = num_devices
        config.outer.num_datasets = 2
        config.outer.num_reward_questions = 8
        config.evaluation.problems_per_call = 4  # fewer than are asked: the draw is made in parts
        setup = setups.build(ml_collections.FrozenConfigDict(config))
        copies = jax.tree.map(lambda leaf: np.stack([leaf] * 2), jax.device_get(setup.start))
        measured = outer_step.Measurer(
            setup, setup.start, HardSplit(train=problems, validation=(), test=()), step=0
        ).measure(copies, 2)
        assert measured.baseline > 0.2
        np.testing.assert_array_equal(measured.rewards, [0.0, 0.0])
        settings = setup.evaluation_sampling(1.0)
        counts.append(
            setup.evaluator.count_correct(
                setup.start, problems, key=stream_key(0, "x"), settings=settings, samples_per_problem=4
            )
        )
    np.testing.assert_array_equal(*counts)


@pytest.mark.parametrize("repeats", [1, 2])
def test_students_trained_in_waves_end_as_those_trained_at_once(repeats):
    rng = np.random.default_rng(0)
    dials = [arithmetic.random_dial(rng, 3) for _ in range(4)]
    questions = tuple(
        QuestionAnswer(question=dial.text(), answer=arithmetic.spell(dial.states()[-1])) for dial in dials
    )
    curriculum = Curriculum(questions=(questions[:1],) * repeats + (questions[1:],) * repeats)
    split = HardSplit(train=tuple(arithmetic.generate_problems(rng, (2, 3), 4)), validation=(), test=())
    config = get_config()
    config.mesh.population = 1
    config.outer.update(num_datasets=2, students_per_dataset=repeats, num_reward_questions=4, reward_samples=4)
    config.inner.update(num_steps=2, questions_per_step=2, group_size=4)
    config.student.learning_rate = 1e-2  # students come apart
    results = []
    for at_once in (0, repeats):
        config.inner.students_at_once = at_once
        setup = setups.build(ml_collections.FrozenConfigDict(config))
        trained = outer_step.train_students(
            setup, setup.start, curriculum=curriculum, split=split, step=0, phase=contextlib.nullcontext
        )
        results.append(jax.device_get(dataclasses.asdict(trained)))
    students = results[0]["measured"]["students"]
    assert students.shape == (2, repeats)
    assert len({*students.ravel()}) > 1
    jax.tree.map(np.testing.assert_array_equal, *results)
