import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar_jax.grading.extraction import ANSWER_FORMATS, extract


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("after_equals", "= 1 2 3", "1 2 3"),
        ("after_equals", "> 1 2 3 =  4 5 6 ", "4 5 6"),
        ("after_equals", "= 1 = 2", "2"),
        ("after_equals", "1 2 3", None),
        ("after_equals", "1 2 3 =", None),
        ("after_equals", "", None),
        ("after_equals", "= " + "9" * 2000, None),
        ("boxed", r"so \boxed{12} it is", "12"),
        ("boxed", r"\boxed{1} no, \boxed{2}", "2"),
        ("boxed", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("boxed", r"\fbox{x}", "x"),
        ("boxed", r"\boxed {7}", "7"),
        ("boxed", r"\boxed{\{1,2\}}", r"\{1,2\}"),
        ("boxed", r"\boxed{\text{a } and {b}}", r"\text{a } and {b}"),
        ("boxed", r"\boxed{1} then \boxed{2", None),  # an unfinished last box is not an answer
        ("boxed", r"\boxed{}", None),
        ("boxed", r"\boxed 5", None),
        ("boxed", "12", None),
        ("hash_marks", "3+4=7\n#### 7", "7"),
        ("hash_marks", "#### 1\n#### 1,234\nmore", "1,234"),
        ("hash_marks", "#### ", None),
        ("hash_marks", "7", None),
        ("last_number", "from 3 to 1,200.50 dollars.", "1,200.50"),
        ("last_number", "it is -4", "-4"),
        ("last_number", "either 3/4, or", "3/4"),
        ("last_number", "so 8-3", "3"),
        ("last_number", "between 5-10", "10"),
        ("last_number", "x=-3", "-3"),
        ("last_number", "he owes -$5", "-5"),
        ("last_number", "none", None),
    ],
)
def test_extractors(name, text, answer):
    assert extract(text, (name,)) == answer


def test_extractors_are_tried_in_order():
    names = ("boxed", "hash_marks", "last_number")
    assert extract(r"\boxed{1} #### 2", names) == "1"
    assert extract("3 #### 2", names) == "2"
    assert extract("it is 3", names) == "3"
    assert extract("nothing", names) is None


def test_only_the_end_of_a_long_text_is_searched():
    assert extract(r"\boxed{1}" + " " * 10**6, ("boxed",)) is None
    assert extract("{" * 10**6 + r"\boxed{1}", ("boxed",)) == "1"


@given(st.text())
def test_any_text_is_searched_without_an_error(text):
    extract(text, tuple(ANSWER_FORMATS))


@given(st.text(alphabet="\\boxed{}#= 1", max_size=60))
def test_text_like_answers_is_searched_without_an_error(text):
    for name in ANSWER_FORMATS:
        found = extract(text, (name,))
        assert found is None or (found and found == " ".join(found.split()))
