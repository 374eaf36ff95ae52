from fractions import Fraction

import pytest

from soar_jax.grading.scalars import clean, exact_number, is_in_base


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("08:30", "8:30"),
        ("45:30", r"\frac{45}{30}"),
        (r"30^{\circ}15'", r"\frac{121}{4}"),
        (r"180^{\circ}-2\alpha", r"180-2\alpha"),
        (r"\sin30^{\circ}", r"\sin(\frac{30\pi}{180})"),
        (r"0.\dot{1}4285\dot{7}", r"0.\overline{142857}"),
        (r"0.333\ldots", r"0.\overline{3}"),
        ("0.(3)", r"0.\overline{3}"),
        (r"x+0.\overline{3}", r"x+\frac{1}{3}"),
        (r"(2516)_{8}", "2516_{8}"),
        (r"1011_{\text{two}}", "1011_{2}"),
        (r"\text{(C)}", "C"),
        (r"\text{Not  Even.}", r"\text{not even}"),
        ("Monday", r"\text{monday}"),
        ("x m", "xm"),
        ("5 2/3", "5 2/3"),
    ],
)
def test_values_have_one_spelling(text, spelling):
    assert clean(text) == spelling
    assert clean(spelling) == spelling


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-0.5", Fraction(-1, 2)),
        (r"1.2\overline{45}", Fraction(137, 110)),
        (r"-1\frac{1}{2}", Fraction(-3, 2)),
        ("5 2/3", Fraction(17, 3)),
        (r"4.5\cdot10^{33}", Fraction(45 * 10**32)),
        (r"1\cdot10^{-10}", Fraction(1, 10**10)),
        ("1/0", None),
        ("9" * 60, None),
        ("٤٢", None),
        ("", None),
    ],
)
def test_exact_numbers(text, number):
    assert exact_number(text) == number


def test_numbers_in_a_base():
    assert [is_in_base(text) for text in ("52_{8}", "1A_{16}", "x_{1}", "52")] == [True, True, False, False]
