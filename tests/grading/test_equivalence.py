"""Pairs of answers by kind, and properties of the comparison."""

import itertools
import json
import pathlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soar_jax.grading import equivalence
from soar_jax.grading.grader import Grader, Verdict
from soar_jax.grading.pairs import read_pair
from soar_jax.grading.writing import canonical
from tests.grading.answers import FAMILIES

MATH = Grader(extraction=("boxed",), equivalence="math")
PAIRS = [json.loads(line) for line in (pathlib.Path(__file__).parent / "pairs.jsonl").read_text().splitlines()]
KINDS = sorted({pair["kind"] for pair in PAIRS})
TEXTS = sorted({pair[side] for pair in PAIRS for side in ("gold", "answer")})
ANSWERS = st.sampled_from([answer for groups in FAMILIES.values() for group in groups for answer in group] + TEXTS)
# Golds of MATH, which are no part of the project: a folder beside the checkout, where there is one.
MATH_500 = pathlib.Path(__file__).parents[3] / "shared" / "data" / "math500_odd.jsonl"
# Pairs of golds that differ in what may be missing: a unit, or the brackets of a tuple.
CONVENTIONS = {("120", r"120^\circ"), ("30", r"30^\circ"), ("36", r"\$36"), ("(-2,1)", "-2,1")}

# Expressions without a unit, and the letters that are units after a number.
EXPRESSIONS = ["2", "x+1", r"\alpha+2", r"\frac{1}{2}", r"\sqrt{3}", "(1,2)", r"\{1,2\}", "x>2", "x^2+y^2=4", "[0,2)"]
EXPRESSIONS += [r"\lfloor x\rfloor", r"2\pi", r"\log 2", "3, 4", r"\begin{pmatrix}1\\2\end{pmatrix}", "n!+2", "2^{n}"]
UNIT_LETTERS = "cdghlmost"


def decide(pairs):
    """Returns the verdicts of pairs of answers, as texts whose boxes are their answers."""
    read = [read_pair(gold, answer) for gold, answer in pairs]
    return [v is Verdict.CORRECT for v in MATH.compare([answer for _, answer in read], [gold for gold, _ in read])]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_each_kind(kind):
    rows = [pair for pair in PAIRS if pair["kind"] == kind]
    verdicts = decide([(pair["gold"], pair["answer"]) for pair in rows])
    assert [row for row, verdict in zip(rows, verdicts, strict=True) if verdict != row["equal"]] == []


def test_pairs_are_decided_alike_in_both_orders():
    rows = [pair for pair in PAIRS if "box" not in pair["gold"] + pair["answer"]]
    rows = random.Random(0).sample(rows, 200)
    there, back = decide((r["gold"], r["answer"]) for r in rows), decide((r["answer"], r["gold"]) for r in rows)
    assert [row for row, a, b in zip(rows, there, back, strict=True) if a != b] == []


def test_no_expression_equals_itself_times_or_plus_a_letter():
    """Each letter is a unit only after a number, in `5 m`."""
    inner = [text.replace("2", f"2{letter}", 1) for text in EXPRESSIONS for letter in UNIT_LETTERS if "2" in text]
    golds = [text for text in EXPRESSIONS for _ in UNIT_LETTERS if "2" in text]
    ends = [(text, text + after + letter) for text in EXPRESSIONS for letter in UNIT_LETTERS for after in ("+", "")]
    pairs = [*zip(golds, inner, strict=True), *ends]
    assert [pair for pair, verdict in zip(pairs, decide(pairs), strict=True) if verdict] == []


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=7), st.randoms(use_true_random=False), st.data())
def test_lists_keep_repeats_in_any_order(numbers, rng, data):
    shuffled = rng.sample(numbers, len(numbers))
    dropped, repeated = list(shuffled), list(shuffled)
    dropped.pop(data.draw(st.integers(0, len(numbers) - 1)))
    repeated[0] = repeated[-1]
    write = ", ".join
    gold = write(map(str, numbers))
    assert equivalence.are_equal(gold, write(map(str, shuffled))) is True
    assert not equivalence.are_equal(gold, write(map(str, dropped)))
    if sorted(repeated) != sorted(numbers):
        assert not equivalence.are_equal(gold, write(map(str, repeated)))


@settings(deadline=None)
@given(ANSWERS)
def test_writing_is_idempotent(text):
    assert canonical(canonical(text)) == canonical(text)


@settings(deadline=None)
@given(st.text(alphabet=r"0123456789\frac{}/^_+-.,()[]xm| ²√%$*=<", max_size=40))
def test_writing_of_any_text_is_idempotent(text):
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.skipif(not MATH_500.exists(), reason=f"{MATH_500} is not there")
def test_different_golds_stay_different():
    golds = sorted({json.loads(line)["answer"] for line in MATH_500.read_text().splitlines()})
    spellings = {}
    for gold in golds:
        spellings.setdefault(equivalence.spell(gold), []).append(gold)
    merged = [same for same in spellings.values() if len(same) > 1]
    assert merged == [[r"\frac14", r"\frac{1}{4}"]]
    pairs = [pair for pair in itertools.combinations(golds, 2) if pair not in CONVENTIONS]
    assert [pair for pair in pairs if equivalence.are_equal(*pair)] == [(r"\frac14", r"\frac{1}{4}")]


def test_a_letter_after_a_blank_may_be_a_unit_or_a_factor():
    pairs = [("5", "5 m"), ("5m", "5 m"), (r"5\text{ m}", "5 m"), ("5 cm", "5 m"), ("5", "5m")]
    assert decide(pairs) == [True, True, True, False, False]


def test_answers_that_no_stage_reads_are_equal_only_as_text():
    text = r"\sum_{k=1}^{n} k^2"
    assert equivalence.are_equal(text, text.replace(" ", "")) is True
    assert equivalence.are_equal(text, r"\sum_{k=1}^{n} k^3") is False
