import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar_jax.grading.equivalence import is_bounded, normalized
from soar_jax.grading.values import clearly_differ
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
UNREAD = [
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


def test_what_is_the_same_is_never_refuted():
    values = [(normalized(a)[0], normalized(b)[0]) for a, b in SAME]
    assert not [pair for pair in values if clearly_differ(*pair)]


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_plain_differences_are_seen(a, b):
    assert clearly_differ(a, b)
    assert clearly_differ(b, a)


@pytest.mark.parametrize(("a", "b"), UNREAD)
def test_what_has_no_one_reading_is_left_to_algebra(a, b):
    assert not clearly_differ(a, b)


def test_a_rounded_answer_is_left_to_algebra():
    assert not clearly_differ(r"\sqrt{2}", "1.41421356237")


@given(st.text(alphabet="0123456789xyei+-*/^(){},. \\", max_size=40))
def test_any_bounded_text_is_read_without_an_error_and_equals_itself(text):
    if is_bounded(text):
        assert not clearly_differ(text, text)
