"""Bookkeeping of final students, with training, validation and tests replaced."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.rl.schedules import learning_rates
from soar_jax.soar import final_trainer
from soar_jax.soar.curricula import Stage
from soar_jax.soar.final_trainer import Hooks, Start, next_cut, train_through
from soar_jax.soar.inner_loop import EpisodePlan
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

VALIDATED, UNVALIDATED = (SimpleNamespace(validation=problems) for problems in (("problem",), ()))


def stage(name, num_steps, is_synthetic):
    questions = (QuestionAnswer(question=name, answer="1"),)
    return Stage(name=name, questions=questions, num_steps=num_steps, is_synthetic=is_synthetic)


def make_setup(**changes):
    shown = []  # progress
    return SimpleNamespace(
        config=make_config(
            **{"final.num_replicas": 2, "evaluation.pass_at": (1,), "curriculum.schedule": "then_hard"} | changes
        ),
        mesh=None,
        sampler=SimpleNamespace(model=None),
        student=SimpleNamespace(optimizer=None),
        shown=shown,
        show_progress=lambda *progress: shown.append(progress),
    )


def counts(policy):
    """A test in which the replicas solve one problem of two in `policy` and in 10 of 100 samples."""
    return {"hard_test": {"num_samples": 100, "ids": ["p", "q"], "num_correct": [[policy, 0], [10, 0]]}}


def make_hooks(saver=None):
    return Hooks(phase=lambda name: contextlib.nullcontext(), test=counts, saver=saver)


@pytest.fixture
def episodes(monkeypatch):
    """Replaces training: a policy is the number of its episodes. Lists questions, plans and references of episodes."""
    calls = []

    def continue_population(setup, states, reference, question_sets, plan, report):
        calls.append(([questions[0].question for questions in question_sets], plan, reference))
        rewards = np.arange(2.0 * plan.num_steps).reshape(-1, 2) + 10 * states.weights
        report(plan.num_steps, 0.125)
        episode = SimpleNamespace(
            mean_rewards=rewards,
            right_shares=rewards / 100,
            indicators={"entropy_estimate": rewards / 10, "mismatch": np.full(rewards.shape, np.nan)},
        )
        return SimpleNamespace(weights=states.weights + 1), episode

    monkeypatch.setattr(final_trainer, "continue_population", continue_population)
    monkeypatch.setattr(final_trainer, "init_population", lambda weights, **_: SimpleNamespace(weights=weights))
    monkeypatch.setattr(
        final_trainer, "validation_accuracy", lambda setup, weights, *_, **__: np.array([weights, weights + 0.5])
    )
    return calls


def plan_of(setup, number, steps, before, first, warmup_steps=0):
    """The expected plan of an episode."""
    rates = learning_rates(setup.config.student, setup.config.final.num_steps, warmup_steps)
    return EpisodePlan(
        stream="final",
        indices=(number,),
        learning_rates=rates[slice(*steps)],
        steps_before=before,
        order_indices=(first,),
    )


def test_episodes_of_stages_end_with_a_validation(episodes):
    setup, phases = make_setup(**{"final.num_steps": 60}), []

    def phase(name):
        phases.append(name)
        return contextlib.nullcontext()

    stages = (stage("a", 20, True), stage("hard", 10, False))
    start = Start(name="promoted", weights=0, student_steps=30)
    students = train_through(setup, start, stages=stages, split=VALIDATED, hooks=Hooks(phase=phase, test=counts))
    plans = [
        plan_of(setup, number, (steps, steps + 10), before, first)
        for number, steps, before, first in ((0, 30, 0, 0), (1, 40, 10, 0), (2, 50, 0, 2))  # the order continues in "a"
    ]
    assert episodes == [(["a", "a"], plans[0], 0), (["a", "a"], plans[1], 0), (["hard", "hard"], plans[2], 0)]
    assert (students.student_steps, students.trained_steps, students.written) == (60, 30, ())
    assert [(row["student_steps"], row["stage"], row["is_synthetic"]) for row in students.curve] == [
        (30, "start", True),
        (40, "a", True),
        (50, "a", True),
        (60, "hard", False),
    ]
    assert [row["validation"] for row in students.curve] == [[n, n + 0.5] for n in range(4)]
    assert [row.get("mean_reward") for row in students.curve] == [None, 9.5, 19.5, 29.5]
    assert [row.get("right_share") for row in students.curve] == [None, *map(pytest.approx, (0.095, 0.195, 0.295))]
    assert students.rewards.tolist() == [10 * episode + 2 * step + 0.5 for episode in range(3) for step in range(10)]
    assert [row.get("entropy_estimate") for row in students.curve] == [None, *map(pytest.approx, (0.95, 1.95, 2.95))]
    assert [row.get("mismatch", 0) for row in students.curve] == [0, None, None, None]
    assert phases == ["validating promoted", *["training promoted", "validating promoted"] * 3]
    notes = [f"mean reward 0.12, validation {number}.25" for number in range(3)]
    assert setup.shown == [("student steps", steps, 60, note) for steps, note in zip((40, 50, 60), notes, strict=True)]
    assert students.tests == {60: counts(3)}  # tested at the end alone
    assert [row.get("tests") for row in students.curve] == [None] * 3 + [
        {"hard_test": {"pass@1": pytest.approx(0.0325), "num_problems": 2}}
    ]


def test_episodes_end_at_tests_too(episodes):
    """Tests are counted from the first student step, whatever the stages; the last one is at the end."""
    changes = {"final.test_every": 7, "final.num_steps": 20, "student.schedule": "cosine", "final.warmup_steps": 3}
    setup = make_setup(**changes)
    stages = (stage("a", 5, True), stage("hard", 15, False))
    students = train_through(setup, Start(name="x", weights=0), stages=stages, split=UNVALIDATED, hooks=make_hooks())
    expected = [(0, (0, 5), 0, 0), (1, (5, 7), 0, 1), (2, (7, 14), 2, 1), (3, (14, 20), 9, 1)]
    assert [plan for _, plan, _ in episodes] == [plan_of(setup, *each, warmup_steps=3) for each in expected]
    assert students.tests == {7: counts(2), 14: counts(3), 20: counts(4)}
    assert [(row["student_steps"], "tests" in row) for row in students.curve] == [
        (0, False),
        (5, False),
        (7, True),
        (14, True),
        (20, True),
    ]
    assert not any("validation" in row for row in students.curve)


@pytest.mark.parametrize(
    ("test_every", "validate_every", "split", "cuts"),
    [
        (0, 10, UNVALIDATED, [40]),
        (0, 10, VALIDATED, [10, 20, 30, 40]),
        (15, 10, UNVALIDATED, [15, 30, 40]),
        (15, 10, VALIDATED, [10, 15, 20, 30, 40]),
        (100, 100, VALIDATED, [40]),
    ],
)
def test_cuts_are_ends_tests_and_validations(test_every, validate_every, split, cuts):
    config = make_config(**{"final.test_every": test_every, "final.validate_every": validate_every})
    found = [0]
    while found[-1] < 40:
        found.append(next_cut(config, split, student_steps=found[-1], end=40))
    assert found[1:] == cuts


def test_training_ends_at_the_step_that_is_reported(episodes):
    """The learning rate is that of whole training."""
    changes = {"final.test_every": 8, "final.report_at": "step", "final.report_step": 16, "final.num_steps": 60}
    setup = make_setup(**changes, **{"student.schedule": "linear"})
    stages = (stage("a", 10, True), stage("hard", 50, False))
    students = train_through(setup, Start(name="x", weights=0), stages=stages, split=UNVALIDATED, hooks=make_hooks())
    expected = [(0, (0, 8), 0, 0), (1, (8, 10), 8, 0), (2, (10, 16), 0, 2)]
    assert [plan for _, plan, _ in episodes] == [plan_of(setup, *each) for each in expected]
    assert (students.student_steps, [*students.tests]) == (16, [8, 16])


def test_without_stages_students_are_their_start(episodes):
    setup = make_setup()
    students = train_through(
        setup, Start(name="x", weights=0, student_steps=90), stages=(), split=VALIDATED, hooks=make_hooks()
    )
    assert (students.student_steps, students.trained_steps, episodes) == (90, 0, [])
    assert len(students.curve) == 1
    assert (students.rewards.size, students.tests) == (0, {90: counts(0)})


class StoppedError(Exception):
    """Ends training after a number of saves."""


class Saver:
    """Keeps a JSON-like copy of what is saved."""

    def __init__(self):
        self.saved, self.num_saves, self.stop_after = None, 0, 0

    def save(self, states, record):
        copied = record | {"curve": [dict(row) for row in record["curve"]], "rewards": [*record["rewards"]]}
        self.saved, self.num_saves = (SimpleNamespace(weights=states.weights), copied), self.num_saves + 1
        if self.num_saves == self.stop_after:
            raise StoppedError

    def restore(self, like):
        return self.saved


@pytest.mark.parametrize("stop_after", [1, 2])
def test_training_that_was_stopped_continues_from_its_last_test(episodes, stop_after):
    setup = make_setup(**{"final.test_every": 7, "final.num_steps": 20})
    stages, start = (stage("a", 5, True), stage("hard", 15, False)), Start(name="x", weights=0)
    whole = train_through(setup, start, stages=stages, split=VALIDATED, hooks=make_hooks())
    plans, episodes[:] = [*episodes], []
    saver = Saver()
    saver.stop_after = stop_after
    with pytest.raises(StoppedError):
        train_through(setup, start, stages=stages, split=VALIDATED, hooks=make_hooks(saver))
    num_before = len(episodes)
    again = train_through(setup, start, stages=stages, split=VALIDATED, hooks=make_hooks(saver))
    assert episodes == plans  # each episode once, under its own names
    assert 0 < num_before < len(plans)
    assert (again.curve, again.tests, again.student_steps) == (whole.curve, whole.tests, whole.student_steps)
    assert again.rewards.tolist() == whole.rewards.tolist()
    assert saver.num_saves == 2  # at steps 7 and 14; at the last step nothing is left to resume
