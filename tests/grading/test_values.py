import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar_jax.grading.equivalence import is_bounded, normalize
from soar_jax.grading.values import provably_differ
from tests.grading.answers import FAMILIES

SAME = [(a, b) for groups in FAMILIES.values() for group in groups for a, b in itertools.combinations(group, 2)]
DIFFERENT = [
    ("x^2+25x+29", "x^2+14x+2"),
    (r"\sqrt{29}+5", r"\sqrt{10}+4"),
    ("(11,16)", "(11,17)"),
    (r"\sqrt{2}", "1.4142"),
    (r"2\pi", "6.28"),
    ("x-x", "1"),
]
AMBIGUOUS = [  # or outside the grammar, or without a value
    ("1/2x", "5"),  # (1/2)x or 1/(2x)
    (r"3\frac{1}{2}", "100"),  # a sum or a product
    ("(-8)^{1/3}", "5"),  # no real power by the rules, -2 by custom
    (r"\frac{1}{0}", "2"),
    (r"\sin{x}", "7"),
    ("3i", "7"),
    ("x^", "3"),
    ("(1,2", "3"),
    ("", "3"),
    ("10^{10^{10^{10}}}", "3"),
    ("z^{zzzzzzzzzzzzzzzzzzz}", "3"),
]


def test_equal_answers_never_differ():
    values = [(normalize(a)[0], normalize(b)[0]) for a, b in SAME]
    assert not [pair for pair in values if provably_differ(*pair)]


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_clear_differences_are_found(a, b):
    assert provably_differ(a, b)
    assert provably_differ(b, a)


@pytest.mark.parametrize(("a", "b"), AMBIGUOUS)
def test_ambiguous_text_is_left_to_algebra(a, b):
    assert not provably_differ(a, b)


def test_a_rounded_answer_is_left_to_algebra():
    assert not provably_differ(r"\sqrt{2}", "1.41421356237")


@given(st.text(alphabet="0123456789xyei+-*/^(){},. \\", max_size=40))
def test_no_bounded_text_differs_from_itself(text):
    if is_bounded(text):
        assert not provably_differ(text, text)
