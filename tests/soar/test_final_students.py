"""Kinds of final students: where each starts, and what it is trained on."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.errors import SettingsError
from soar_jax.evaluation.hard_subset import split_hard
from soar_jax.problems import arithmetic
from soar_jax.soar import final_students
from soar_jax.soar.curricula import Stage
from soar_jax.soar.final_students import FINAL_STUDENTS, promoted_steps
from soar_jax.soar.state import Progress, Promotion, SearchResult
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

DIAL = arithmetic.Dial(digits=(3, 1, 4), operations=("rotate",)).text()
STAGE = Stage(name="one", questions=(QuestionAnswer(question=DIAL, answer="0 0 0"),), num_steps=10, is_synthetic=True)


def promotion(step, num_steps):
    return Promotion(
        outer_step=step,
        source_step=step,
        dataset=0,
        reward=0.1,
        validation_accuracy=0.1,
        questions=(),
        num_steps=num_steps,
    )


@pytest.fixture
def search():
    """A search that ended with the policy "best" after two promotions, and a worse one after a third."""
    return SearchResult(
        arrays=SimpleNamespace(best="best"),
        progress=Progress(best_promotion=2, promotions=(promotion(3, 10), promotion(6, 10), promotion(9, 10))),
        split=split_hard(arithmetic.generate_problems(np.random.default_rng(0), (4, 6), 20), 0, 0.25),
    )


@pytest.fixture
def setup():
    return SimpleNamespace(config=make_config(), base_weights="base")


@pytest.fixture
def trained(monkeypatch):
    """Replaces training; lists the starts and stages of all students."""
    calls = []
    monkeypatch.setattr(
        final_students, "train_through", lambda setup, start, stages, split, hooks: calls.append((start, stages))
    )
    return calls


# Where students start, the student steps before, the steps of their stages, and the answer to the stage's question.
KINDS = {
    "curriculum": ("base", 0, [30, 20], "0 0 0"),
    "true_answers": ("base", 0, [30, 20], "1 4 3"),
    "random_answers": ("base", 0, [30, 20], None),
    "promoted": ("best", 20, [30], None),
    "hard_only": ("base", 0, [50], None),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_its_start_and_its_stages(name, setup, search, trained):
    FINAL_STUDENTS[name].train(setup, search, stages=(STAGE,), hooks=None)
    ((start, stages),) = trained
    weights, steps_before, steps, answer = KINDS[name]
    assert (start.name, start.weights, start.student_steps) == (name, weights, steps_before)
    assert [stage.num_steps for stage in stages] == steps
    assert not stages[-1].is_synthetic
    if answer:
        assert stages[0].questions == (QuestionAnswer(question=DIAL, answer=answer),)
    if name == "random_answers":
        assert stages[0].questions[0].answer not in ("0 0 0", "1 4 3")


def test_self_play_trains_on_the_hard_split(setup, search, monkeypatch):
    calls = []
    monkeypatch.setattr(final_students, "train_by_self_play", lambda *given: calls.append(given))
    FINAL_STUDENTS["self_play"].train(setup, search, stages=(), hooks="hooks")
    assert calls == [(setup, search.split, "hooks")]
    assert KINDS.keys() | {"self_play"} == set(FINAL_STUDENTS)  # all kinds are tested


def test_unknown_final_students_are_refused():
    message = f"final.students is 'twins'; choose one of {', '.join(FINAL_STUDENTS)}$"
    with pytest.raises(SettingsError, match=message):
        make_config(**{"final.students": ("hard_only", "twins")})
    with pytest.raises(SettingsError, match=message):
        FINAL_STUDENTS["twins"]


@pytest.mark.parametrize(
    ("num_steps", "best_promotion", "expected"),
    [((10, 15, 20), 2, 25), ((10, 15, 20), 3, 45), ((0, 0, 0), 2, 20), ((), 0, 0)],
)
def test_the_promoted_students_steps_are_those_of_its_promotions(setup, search, num_steps, best_promotion, expected):
    promotions = tuple(promotion(step, steps) for step, steps in enumerate(num_steps))
    progress = Progress(promotions=promotions, best_promotion=best_promotion)
    assert promoted_steps(setup, dataclasses.replace(search, progress=progress)) == expected
