import numpy as np
import pytest

from soar_jax.grading.gold import boxes, gold_answer, value_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        ("", ""),
        (5, "5"),
        (-0.5, "-0.5"),
        (10**400, "1" + "0" * 400),
        (np.int64(3), "3"),
        (np.float32(0.5), "0.5"),
    ],
)
def test_texts_and_finite_numbers_are_read(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize("value", [None, True, False, float("nan"), float("-inf"), np.nan, np.True_, [5], {"a": 5}, 1j])
def test_other_values_are_no_answer(value):
    assert value_text(value) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("5", "5"),
        (r"First \boxed{1}, then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("6 = 6\n#### 1,234\n", " 1,234"),
        (r"\boxed{3} #### 4", "3"),
        (r"\boxed{3", ""),
    ],
)
def test_the_answer_of_a_solution(text, answer):
    assert gold_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5", []),
        (r"\boxed{1} and \boxed{2}", ["2", "1"]),
        (r"\boxed{1 0} and \fbox{10}", ["10"]),
        (r"\boxed{\boxed{5}}", ["5"]),
        (r"\boxed{1} and \boxed{2", []),
    ],
)
def test_different_boxes_are_found(text, found):
    assert boxes(text) == found


def test_many_boxes_take_little_time():
    assert boxes(r"\boxed{1}" * 50_000) == ["1"]
