import pytest

from soar_jax.grading.reading import MAX_DEPTH, MAX_ENTRIES, read
from soar_jax.grading.shapes import INFINITY, REALS, Chain, Collection, Interval, Kind, Named, Value
from soar_jax.grading.writing import canonical


def values(*texts):
    return tuple(Value(text=text) for text in texts)


def shape(text):
    return read(canonical(text))


ONE, TWO = values("1", "2")
SHAPES = {
    "1, 2": Collection(kind=Kind.LIST, entries=(ONE, TWO)),
    r"1\text{ and }2": Collection(kind=Kind.LIST, entries=(ONE, TWO)),
    "1; 2": Collection(kind=Kind.LIST, entries=(ONE, TWO)),
    r"\{1,2\}": Collection(kind=Kind.SET, entries=(ONE, TWO)),
    r"\pm 1": Collection(kind=Kind.LIST, entries=values("1", "-1")),
    "(1,2,1)": Collection(kind=Kind.TUPLE, entries=(ONE, TWO, ONE)),
    "(1,2)": Interval(low=ONE, high=TWO, brackets="()", is_pair=True),
    "(1,2]": Interval(low=ONE, high=TWO, brackets="(]"),
    "]1;2[": Interval(low=ONE, high=TWO, brackets="()"),
    "1<x\\le2": Interval(low=ONE, high=TWO, brackets="(]", variable="x"),
    "2\\ge x>1": Interval(low=ONE, high=TWO, brackets="(]", variable="x"),
    r"x>1\text{ and }x\le 2": Interval(low=ONE, high=TWO, brackets="(]", variable="x"),
    r"\{y \mid 1<y\le2\}": Interval(low=ONE, high=TWO, brackets="(]"),
    "x>1": Interval(low=ONE, high=INFINITY, brackets="()", variable="x"),
    r"\text{all real numbers}": REALS,
    r"(-\infty,\infty)": REALS,
    "x=1": Named(name="x", body=ONE),
    r"x\in\{1,2\}": Named(name="x", body=Collection(kind=Kind.SET, entries=(ONE, TWO))),
    "1+1=2": Chain(parts=values("1+1", "2"), signs=("=",)),
    "x+y>1": Chain(parts=values("1", "x+y"), signs=("<",)),
    "AB=CD": Chain(parts=values("AB", "CD"), signs=("=",)),
    r"5\text{ cm}": Value(text="5", unit="centimeter"),
    "5 m": Value(text="5", unit="meter", product="5m"),
    "5m": Value(text="5m"),
    "((1))": ONE,
}


@pytest.mark.parametrize("text", SHAPES)
def test_shapes(text):
    assert shape(text) == SHAPES[text]


def test_a_line_without_points():
    for text in (r"x\ne1, x\ne2", r"x\neq 1,2"):
        read_shape = shape(text)
        assert read_shape.kind is Kind.DIFFERENCE
        assert read_shape.entries[1] == Collection(kind=Kind.SET, entries=(ONE, TWO))


def test_deep_and_long_texts_are_read():
    assert isinstance(read("(" * 500 + "1" + ")" * 500), Value)
    assert isinstance(read("(1," * (MAX_DEPTH + 5) + "1" + ")" * (MAX_DEPTH + 5)), Interval)
    assert isinstance(read(", ".join("1" * (MAX_ENTRIES + 1))), Value)
