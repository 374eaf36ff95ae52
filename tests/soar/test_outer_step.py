"""Promotions: whose student and questions are taken, and which student is kept for the test."""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.soar import outer_step
from soar_jax.soar.grounded_reward import RewardEval, TrainedStudents
from soar_jax.soar.inner_loop import Episode, QuestionStats
from soar_jax.soar.outer_step import promote
from soar_jax.soar.state import Progress, RunArrays
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer
from tests.configs import make_config


def policy(value):
    return {"w": np.float32(value)}


def step_parts(step, rewards):
    """Datasets and trained students of a step; student k of step s is the policy 10 s + k."""
    items = tuple((QuestionAnswer(question=f"q{step}.{k}", answer=f"a{step}.{k}"), None) for k in range(len(rewards)))
    measured = RewardEval(
        baseline=0.0,
        students=np.array(rewards)[:, None],
        rewards=np.array(rewards),
        standard_errors=np.zeros(len(rewards)),
        has_questions=np.ones(len(rewards), bool),
    )
    trained = TrainedStudents(
        episode=None,
        changed_shares=np.zeros(0),
        measured=measured,
        candidate=policy(10 * step + int(np.argmax(rewards))),
    )
    return {"datasets": Datasets(rollouts=None, items=items), "trained": trained}


def make_setup(method="soar_math", **rule):
    """A setup with a promotion rule, and episodes of 10, 15 and 20 student steps."""
    rule = {f"promotion.{key}": value for key, value in ({"statistic": "best"} | rule).items()}
    return SimpleNamespace(config=make_config(method, **rule, **{"inner.steps_per_promotion": 5}))


def promote_all(setup, rewards, num_kept=0):
    """Arrays and progress after each of the steps with these datasets' rewards."""
    base, after = policy(-1), []
    arrays, progress = RunArrays(teacher=None, baseline=base, best=base, window=(base,) * num_kept), Progress()
    for step, each in enumerate(rewards):
        progress = dataclasses.replace(progress, outer_step=step)
        arrays, progress, _ = promote(setup, arrays, progress, split=None, **step_parts(step, each))
        after.append((arrays, progress))
    return after


@pytest.mark.parametrize("student", ["window_best", "step_best"])
def test_the_promoted_student_comes_with_its_own_questions(monkeypatch, student):
    setup = make_setup(threshold=0.01, window=3, student=student, needs_step_reward=True)
    monkeypatch.setattr(outer_step, "selection_accuracy", lambda setup, params, split: float(params["w"]) / 100)
    base = policy(-1)
    arrays = RunArrays(teacher=None, baseline=base, best=base, window=(base,) * (2 if student == "window_best" else 0))
    progress = Progress()
    for step, rewards in enumerate([(0.0, 0.02), (0.6, 0.1), (0.0, 0.3)]):
        progress = dataclasses.replace(progress, outer_step=step)
        arrays, progress, _ = promote(setup, arrays, progress, split=None, **step_parts(step, rewards))
        assert len(progress.promotions) == (step == 2)
    (promoted,) = progress.promotions
    step, dataset = (1, 0) if student == "window_best" else (2, 1)
    assert (promoted.source_step, promoted.dataset) == (step, dataset)
    assert promoted.questions == ((f"q{step}.{dataset}", f"a{step}.{dataset}"),)
    assert float(arrays.baseline["w"]) == 10 * step + dataset == float(arrays.best["w"])
    assert progress.window == progress.window_questions == ()
    assert progress.baseline_validation == (10 * step + dataset) / 100


def test_the_first_promoted_student_is_the_best_so_far(monkeypatch):
    """Even if the base model is better."""
    setup = make_setup(threshold=-1.0, window=1, student="step_best", needs_step_reward=False)
    accuracy = iter([0.1, 0.05, 0.2])
    monkeypatch.setattr(outer_step, "selection_accuracy", lambda *_: next(accuracy))
    base = policy(-1)
    arrays = RunArrays(teacher=None, baseline=base, best=base, window=())
    progress = Progress(best_validation=0.15, baseline_validation=0.15)
    kept = []
    for step in range(3):
        progress = dataclasses.replace(progress, outer_step=step)
        arrays, progress, *_ = promote(setup, arrays, progress, split=None, **step_parts(step, (0.1, 0.0)))
        kept.append((float(arrays.best["w"]), progress.best_promotion, progress.best_validation))
    assert kept == [(0.0, 1, 0.1), (0.0, 1, 0.1), (20.0, 3, 0.2)]


def test_the_baseline_of_the_best_selection_accuracy_is_kept(monkeypatch):
    setup = make_setup(threshold=-1.0, window=1, student="step_best", needs_step_reward=False)
    accuracy = iter([0.5, 0.2, 0.5])
    monkeypatch.setattr(outer_step, "selection_accuracy", lambda *_: next(accuracy))
    base = policy(-1)
    arrays, progress = RunArrays(teacher=None, baseline=base, best=base, window=()), Progress()
    kept = []
    for step in range(3):
        progress = dataclasses.replace(progress, outer_step=step)
        arrays, progress, *_ = promote(setup, arrays, progress, split=None, **step_parts(step, (0.1, 0.0)))
        kept.append((float(arrays.best["w"]), progress.best_promotion))
    assert kept == [(0.0, 1), (0.0, 1), (20.0, 3)]


def test_a_window_that_stays_promotes_this_steps_students(monkeypatch):
    setup = make_setup(window=2, student="step_best", clears_window=False, needs_step_reward=False, statistic="mean")
    monkeypatch.setattr(outer_step, "selection_accuracy", lambda *_: 0.0)
    after = promote_all(setup, [(0.0, 0.1), (0.2, 0.0), (0.0, 0.3), (-0.5, 0.0)])
    assert [float(arrays.baseline["w"]) for arrays, _ in after] == [-1, 10, 21, 21]
    assert [step.outer_step for step in after[-1][1].window] == [2, 3]
    assert [progress.window_questions for _, progress in after] == [()] * 4


@pytest.mark.parametrize(("student", "num_kept"), [("window_best", 1), ("step_best", 0)])
def test_a_promotion_records_the_length_of_the_students_episode(monkeypatch, student, num_kept):
    setup = make_setup(window=2, student=student, threshold=0.0)
    monkeypatch.setattr(outer_step, "selection_accuracy", lambda *_: 0.0)
    _, progress = promote_all(setup, [(0.2, 0.1)] * 10, num_kept)[-1]
    assert [promotion.outer_step for promotion in progress.promotions] == [1, 3, 5, 7, 9]
    assert [promotion.num_steps for promotion in progress.promotions] == [10, 15, 20, 20, 20]


def test_nobody_is_promoted_by_the_rule_never():
    after = promote_all(make_setup("no_promotion", student="step_median"), [(0.9, 0.9)] * 5)
    assert {float(arrays.baseline["w"]) for arrays, _ in after} == {-1}
    assert after[-1][1].promotions == ()


def test_training_metrics_are_of_the_first_and_last_student_step(monkeypatch, nano_setup):
    setup = dataclasses.replace(nano_setup, config=make_config(**{"outer.num_datasets": 2}))
    parts = step_parts(0, (0.1, 0.3))
    episode = Episode(
        stats=QuestionStats(asked=[np.array([4])] * 2, agreed=[np.array([1])] * 2),
        mean_rewards=np.array([[10.0, 30.0], [0.0, 0.0], [120.0, 60.0]]),
        right_shares=np.array([[0.0, 0.25], [0.0, 0.0], [1.0, 0.5]]),
        has_signal=np.zeros((3, 2), bool),
        indicators={
            "mismatch": np.array([[0.02, np.nan], [np.nan, np.nan], [0.01, 0.03]]),
            "grad_norm": np.full((3, 2), np.nan),
        },
        shown=(SimpleNamespace(row=lambda *numbers: numbers),),
    )
    trained = dataclasses.replace(parts["trained"], episode=episode, changed_shares=np.array([0.5, np.nan]))
    monkeypatch.setattr(outer_step, "train_students", lambda *_, **__: trained)
    arrays = RunArrays(teacher=None, baseline=policy(-1), best=policy(-1), window=(policy(-1),) * 2)
    before = Progress(outer_step=4, num_student_steps=7)
    scored = outer_step.score_by_improvement(
        setup, arrays, before, split=None, datasets=parts["datasets"], phase=contextlib.nullcontext
    )
    inner = {name: value for name, value in scored.metrics.items() if name.startswith("inner_")}
    assert inner == {
        "inner_steps": 3,
        "inner_reward_first": 20.0,
        "inner_reward_last": 90.0,
        "inner_reward_gain": 70.0,
        "inner_right_first": 0.125,
        "inner_right_last": 0.75,
        "inner_mismatch": pytest.approx(0.02),
        "inner_grad_norm": None,
        "inner_changed_share": 0.5,
    }
    assert scored.progress.num_student_steps == 7 + 2 * 3
    assert scored.completions == [(4, 1)]  # outer step, students of a dataset


@pytest.mark.parametrize(
    ("unit", "rewards", "advantages"),
    [
        ("dataset", [[0.5, 0.5], [0.8, 0.8]], [[-0.3, -0.3], [0.3, -0.6]]),  # a dataset is compared with the other
        ("question", [[0.2, 0.8], [0.8, 0.0]], [[-0.6, 0.3], [0.3, -1.2]]),  # a question with all others
    ],
)
def test_a_reward_of_questions_is_given_to_the_configs_unit(monkeypatch, nano_setup, unit, rewards, advantages):
    changes = {"teacher.reward_unit": unit, "teacher.malformed": "penalise", "teacher.invalid_penalty": 2.0}
    setup = dataclasses.replace(nano_setup, config=make_config("intrinsic_teacher", **changes))
    values, agreement = np.array([[0.2, 0.8], [0.8, 0.0]]), np.array([[0.8, 0.2], [0.2, np.nan]])
    monkeypatch.setattr(outer_step, "rewards_by_votes", lambda *_, step: (values, agreement))
    item = QuestionAnswer(question="q", answer="1")
    datasets = Datasets(rollouts=None, items=((item, item), (item, None)))
    arrays = RunArrays(teacher=None, baseline="solver", best=None, window=())
    scored = outer_step.score_by_votes(setup, arrays, Progress(), datasets=datasets, phase=contextlib.nullcontext)
    np.testing.assert_allclose(scored.dataset_rewards, [0.5, 0.8])
    np.testing.assert_allclose(scored.rewards, rewards)
    np.testing.assert_allclose(scored.advantages, advantages, rtol=1e-6)
    assert scored.solve_rates is agreement
