"""Bookkeeping of final students, with training and validation replaced."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.soar import final_trainer
from soar_jax.soar.curricula import Stage
from soar_jax.soar.final_trainer import Start, train_through
from soar_jax.soar.inner_loop import EpisodeName
from soar_jax.types import QuestionAnswer
from tests.configs import make_config


def stage(name, num_steps, is_synthetic):
    questions = (QuestionAnswer(question=name, answer="1"),)
    return Stage(name=name, questions=questions, num_steps=num_steps, is_synthetic=is_synthetic)


@pytest.fixture
def episodes(monkeypatch):
    """Replaces training: a policy is the number of its episodes. Lists questions, names and references of episodes."""
    calls = []

    def continue_population(setup, states, reference, question_sets, name):
        calls.append(([questions[0].question for questions in question_sets], name, reference))
        return SimpleNamespace(states=SimpleNamespace(weights=states.weights + 1))

    monkeypatch.setattr(final_trainer, "continue_population", continue_population)
    monkeypatch.setattr(final_trainer, "init_population", lambda weights, **_: SimpleNamespace(weights=weights))
    monkeypatch.setattr(
        final_trainer, "validation_accuracy", lambda setup, weights, *_: np.array([weights, weights + 0.5])
    )
    return calls


def test_stages_are_trained_in_episodes_of_inner_steps(episodes):
    setup = SimpleNamespace(
        config=make_config(**{"final.num_replicas": 2, "final.num_steps": 60}),
        mesh=None,
        sampler=SimpleNamespace(model=None),
        student=SimpleNamespace(optimizer=None),
    )
    phases = []

    def phase(name):
        phases.append(name)
        return contextlib.nullcontext()

    stages = (stage("a", 20, True), stage("hard", 10, False))
    start = Start(name="promoted", weights=0, student_steps=30)
    students = train_through(setup, start, stages=stages, split=None, phase=phase)
    names = [
        EpisodeName(stream="final", indices=(number,), earlier_episodes=earlier)
        for number, earlier in enumerate((0, 1, 0))  # the order of questions continues within a stage
    ]
    assert episodes == [(["a", "a"], names[0], 0), (["a", "a"], names[1], 0), (["hard", "hard"], names[2], 0)]
    assert (students.weights, students.student_steps, students.trained_steps, students.written) == (3, 60, 30, ())
    assert [(row["student_steps"], row["stage"], row["is_synthetic"]) for row in students.curve] == [
        (30, "start", True),
        (40, "a", True),
        (50, "a", True),
        (60, "hard", False),
    ]
    assert [row["validation"] for row in students.curve] == [[n, n + 0.5] for n in range(4)]
    assert phases == [f"training promoted, {steps} of 60 student steps" for steps in (30, 40, 50)]


def test_without_stages_students_are_their_start(episodes):
    setup = SimpleNamespace(
        config=make_config(), mesh=None, sampler=SimpleNamespace(model=None), student=SimpleNamespace(optimizer=None)
    )
    students = train_through(setup, Start(name="x", weights=0), stages=(), split=None, phase=contextlib.nullcontext)
    assert (students.weights, students.trained_steps, len(students.curve), episodes) == (0, 0, 1, [])
