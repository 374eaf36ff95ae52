"""Promotions: whose student and questions are taken, and which student is kept for the test."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.soar import outer_step
from soar_jax.soar.grounded_reward import RewardEval, TrainedStudents
from soar_jax.soar.inner_loop import QuestionStats
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
    measured = RewardEval(baseline=0.0, students=np.array(rewards)[:, None], rewards=np.array(rewards))
    trained = TrainedStudents(
        stats=QuestionStats(asked=[], agreed=[]),
        mean_rewards=np.zeros((0, 0)),
        measured=measured,
        best=policy(10 * step + int(np.argmax(rewards))),
    )
    return {"datasets": Datasets(rollouts=None, items=items), "trained": trained}


def make_setup(**rule):
    """A setup with a promotion rule."""
    rule = {"statistic": "best"} | rule
    return SimpleNamespace(config=make_config(**{f"promotion.{key}": value for key, value in rule.items()}))


@pytest.mark.parametrize("student", ["window_best", "step_best"])
def test_the_promoted_student_comes_with_its_own_questions(monkeypatch, student):
    setup = make_setup(threshold=0.01, window=3, student=student, needs_step_reward=True)
    monkeypatch.setattr(outer_step, "validation_accuracy", lambda setup, params, split: float(params["w"]) / 100)
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


def test_the_best_baseline_on_validation_is_kept(monkeypatch):
    setup = make_setup(threshold=-1.0, window=1, student="step_best", needs_step_reward=False)
    accuracy = iter([0.5, 0.2, 0.5])
    monkeypatch.setattr(outer_step, "validation_accuracy", lambda *_: next(accuracy))
    base = policy(-1)
    arrays, progress = RunArrays(teacher=None, baseline=base, best=base, window=()), Progress()
    kept = []
    for step in range(3):
        progress = dataclasses.replace(progress, outer_step=step)
        arrays, progress, *_ = promote(setup, arrays, progress, split=None, **step_parts(step, (0.1, 0.0)))
        kept.append((float(arrays.best["w"]), progress.best_promotion))
    assert kept == [(0.0, 1), (0.0, 1), (20.0, 3)]
