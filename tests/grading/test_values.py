import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soar_jax.grading.bounds import is_bounded
from soar_jax.grading.equivalence import read
from soar_jax.grading.shapes import leaves
from soar_jax.grading.values import compare
from tests.grading.answers import FAMILIES

SAME = [(a, b) for groups in FAMILIES.values() for group in groups for a, b in itertools.combinations(group, 2)]
DIFFERENT = [
    ("x^{2}+25x+29", "x^{2}+14x+2"),
    (r"\sqrt{29}+5", r"\sqrt{10}+4"),
    (r"\sqrt{2}", "1.4142"),
    (r"2\pi", "6.28"),
    ("x-x", "1"),
    (r"\sqrt{x^{2}}", "x"),  # which differ for negative x alone
    (r"\frac{2^{2009}-1}{3\cdot2^{2008}-1}", r"\frac{2^{2008}-1}{3\cdot2^{2007}-1}"),  # by 1e-604
    ("2x+3", "2x+3m"),
    ("A", "a"),
]
EQUAL = [
    ("x^{2}+3x+2", "(x+1)(x+2)"),
    (r"2\sqrt{2}", r"\sqrt{8}"),
    (r"\sqrt{\frac{1}{n}}", r"\frac{1}{\sqrt{n}}"),
    (r"\sqrt{\frac{R}{R-2r}}", r"\frac{\sqrt{R}}{\sqrt{R-2r}}"),
    (r"\frac{\sqrt{ab}}{b}", r"\sqrt{\frac{a}{b}}"),
    (r"\log_{2}8", "3"),
    ("|x-1|", "|1-x|"),
    (r"\sqrt[3]{2+\sqrt{5}}+\sqrt[3]{2-\sqrt{5}}", "1"),
    ("e^{2x}", "(e^{x})^{2}"),
]
UNKNOWN = [  # ambiguous, outside the grammar, or without a value
    ("1/2x", "5"),  # (1/2)x or 1/(2x)
    (r"3\frac{1}{2}", "100"),  # a sum or a product
    ("(-8)^{1/3}", "5"),  # no real power by the rules, -2 by custom
    (r"\frac{1}{0}", "2"),
    (r"\sin x y", "7"),
    ("3i", "7"),
    ("x^", "3"),
    ("(1,2", "3"),
    ("", "3"),
    ("f(x)", "3"),
    ("10^{10^{10^{10}}}", "3"),
]


def test_equal_answers_never_differ():
    pairs = [([*leaves(read(a))], [*leaves(read(b))]) for a, b in SAME]
    values = [(a[0].text, b[0].text) for a, b in pairs if len(a) == len(b) == 1]
    assert len(values) > 300
    assert not [pair for pair in values if all(map(is_bounded, pair)) and compare(*pair) is False]


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_clear_differences_are_found(a, b):
    assert compare(a, b) is False
    assert compare(b, a) is False


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal_values_are_found(a, b):
    assert compare(a, b) is True
    assert compare(b, a) is True


@pytest.mark.parametrize(("a", "b"), UNKNOWN)
def test_ambiguous_text_is_left_to_algebra(a, b):
    assert compare(a, b) is None


def test_a_rounded_answer_is_left_to_algebra():
    assert compare(r"\sqrt{2}", "1.41421356237") is None


@given(st.text(alphabet="0123456789xyei+-*/^(){},. \\", max_size=40))
def test_no_bounded_text_differs_from_itself(text):
    if is_bounded(text):
        assert compare(text, text) is not False
