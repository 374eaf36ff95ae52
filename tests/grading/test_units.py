import pytest

from soar_jax.grading.units import split
from soar_jax.grading.writing import canonical

SPLIT = {
    "£50": ("50", "pound"),
    r"\text{€}50": ("50", "euro"),
    "50€": ("50", "euro"),
    r"US\$50": ("50", "dollar"),
    "Rs. 50": ("50", "rupee"),
    "1,000.99m²": ("1000.99", "meter^2"),
    "12cm": ("12", "centimeter"),
    "15 minutes": ("15", "minute"),
    "3 apples": ("3", "apples"),
    r"45 \mathrm{~km} / \mathrm{h}": ("45", "kilometer/hour"),
    "28 pct": ("28", "percent"),
    "8:30 PM": ("8:30", "p.m."),
    "21st": ("21", ""),
    r"10^{\text{th}}": ("10", ""),
    r"\sin 30^\circ": (r"\sin30^{\circ}", ""),
}
NO_UNIT = ["6m", "2am", "2ab", "2rs", "11st", "x+2m", "3 million", "3 less than x", "2 or more", r"\pi l", "mg"]


@pytest.mark.parametrize("text", SPLIT)
def test_units_are_split_off(text):
    assert split(canonical(text)) == SPLIT[text]


@pytest.mark.parametrize("text", NO_UNIT)
def test_letters_and_words_that_are_no_unit(text):
    assert split(text) == (text, "")
