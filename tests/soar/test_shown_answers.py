"""Which answers are shown, and their rows."""

import json
from types import SimpleNamespace

import pytest

from soar_jax.grading.grader import Verdict
from soar_jax.soar.shown_answers import MAX_CHARACTERS, Pick, ShownAnswer, pick_answers
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

ITEM = QuestionAnswer(question="q", answer="1")
QUESTION_SETS = [(ITEM,), (), (ITEM, ITEM), ()]


def picked(count, outer_step=3, question_sets=QUESTION_SETS, **changes):
    small = {"inner.questions_per_step": 2, "inner.group_size": 4, "analysis.saved_completions": count}
    setup = SimpleNamespace(config=make_config(**small | changes))
    return pick_answers(setup, question_sets, outer_step=outer_step, num_steps=5)


def test_picks_are_distinct_places_of_students_with_questions():
    picks = picked(30)
    assert len({(pick.step, pick.student, pick.row) for pick in picks}) == 30
    assert {pick.student for pick in picks} == {0, 2}
    assert {pick.step for pick in picks} == set(range(5))
    assert {pick.row for pick in picks} == set(range(8))
    assert [pick.step for pick in picks] == sorted(pick.step for pick in picks)


def test_picks_depend_on_seed_and_step_alone():
    assert picked(8) == picked(8)
    assert len({picked(8), picked(8, outer_step=4), picked(8, seed=1)}) == 3


@pytest.mark.parametrize(
    ("count", "question_sets", "found"), [(0, QUESTION_SETS, 0), (100, QUESTION_SETS, 80), (8, [(), ()], 0)]
)
def test_there_are_no_more_picks_than_answers(count, question_sets, found):
    assert len(picked(count, question_sets=question_sets)) == found


def shown(**changes):
    values = {"completion": "so 2", "answer": "2", "verdict": Verdict.WRONG, "reward": 0.5, "advantage": -0.25}
    return ShownAnswer(pick=Pick(step=4, student=7, row=1), asked=ITEM, **values | changes)


def test_a_row_has_dataset_and_student():
    assert shown().row(outer_step=3, students_per_dataset=3) == {
        "outer_step": 3,
        "dataset": 2,
        "student": 1,
        "student_step": 4,
        "question": "q",
        "reference_answer": "1",
        "completion": "so 2",
        "answer": "2",
        "verdict": "wrong",
        "reward": 0.5,
        "advantage": -0.25,
    }
    assert shown(answer=None, verdict=Verdict.UNPARSABLE).row(0, 1)["answer"] is None


def test_long_texts_are_cut():
    row = shown(completion="\x00" * 10**6, answer="9" * 10**6).row(0, 1)
    assert row["completion"] == "\x00" * MAX_CHARACTERS + "…"
    assert len(row["answer"]) == MAX_CHARACTERS + 1
    assert len(json.dumps(row)) < 10 * MAX_CHARACTERS
