import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar_jax.grading.extraction import after_equals, question_and_answer
from soar_jax.grading.verdicts import Verdict, grade, rewards
from soar_jax.types import QuestionAnswer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("= 1 2 3", "1 2 3"),
        ("> 1 2 3 =  4 5 6 ", "4 5 6"),
        ("= 1 = 2", "2"),
        ("1 2 3", None),
        ("1 2 3 =", None),
        ("", None),
        ("= " + "9" * 2000, None),
    ],
)
def test_answer_is_behind_the_last_equals_sign(text, answer):
    assert after_equals(text) == answer


def test_grading():
    assert grade("> 1 = 4 5 6", "4 5 6", "after_equals") is Verdict.CORRECT
    assert grade("= 4 5", "4 5 6", "after_equals") is Verdict.WRONG
    assert grade("4 5 6", "4 5 6", "after_equals") is Verdict.UNPARSABLE
    assert rewards(["= 1", "= 2"], ["1", "1"], "after_equals").tolist() == [1.0, 0.0]


def test_nothing_equals_an_empty_reference():
    for text in ("", "=", "= ", "= 0"):
        assert grade(text, "", "after_equals") is not Verdict.CORRECT


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("sum 1 2 3 ? = 6", QuestionAnswer("sum 1 2 3", "6")),
        ("sum 1 2 3 ? > 3 = 6", QuestionAnswer("sum 1 2 3", "6")),
        ("sum 1 2 3 = 6", None),
        ("? = 6", None),
        ("sum 1 2 3 ? 6", None),
        ("x" * 5000 + "? = 6", None),
    ],
)
def test_question_and_answer(text, pair):
    assert question_and_answer(text, "?", "after_equals") == pair


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    after_equals(text)
    question_and_answer(text, "?", "after_equals")
