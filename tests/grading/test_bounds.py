import pytest

from soar_jax.grading.bounds import MAX_BITS, MAX_CHARACTERS, is_bounded, num_bits

BOUNDED = [
    "2^{2024}+1",
    r"4\cdot3^{2011}",
    "2x^{9}-8x^{7}+9x^{6}-16x^{5}-12x^{4}+9x^{3}-24x^{2}",
    "2e^{-x^{2}}",
    r"\frac{n!(n-1)!}{2^{n-1}}",
    r"\binom{40}{10}\binom{40}{20}^{3}",
    "2^{2^{n}}",
    "(x+y+z+a+b+c)^{99}",
    "100!",
]
UNBOUNDED = [
    "",
    "9^{9^{9}}",
    "9^{999999999}",
    "((9^{99})^{99})^{99}",
    "10^{10}^{10}",
    "x^{x^{x^{x}}}",
    "99999!",
    "((10!)!)!",
    r"\binom{999999999}{499999999}",
    r"\frac{1}{10^{10^{10}}}",
    "1+" * MAX_CHARACTERS,
    "9" * 100,
    "(" * 50 + "1" + ")" * 50,
    "(1,2",
    "1)",
    "5 5",
    r"\input{x}",
    "naïve",
    r"0.\overline{3}4",
]


@pytest.mark.parametrize("text", BOUNDED)
def test_long_but_small_values_are_bounded(text):
    assert is_bounded(text)


@pytest.mark.parametrize("text", UNBOUNDED)
def test_large_or_unreadable_values_are_not(text):
    assert not is_bounded(text)


def test_powers_are_bounded_one_by_one_and_together():
    assert num_bits("2^{1000}") == pytest.approx(1000)
    assert num_bits("+".join(["2^{1000}"] * 30)) == pytest.approx(30_000)
    assert num_bits("(2^{1000})^{1000}") > MAX_BITS > num_bits("2^{1000}3^{1000}")
