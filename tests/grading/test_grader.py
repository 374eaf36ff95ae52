import itertools
import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soar_jax.grading import equivalence, worker
from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS
from soar_jax.grading.grader import Grader, Verdict
from soar_jax.grading.pool import AlgebraPool
from tests.conftest import ROOT
from tests.grading.answers import FAMILIES, HOSTILE

TEXT = Grader(extraction=("after_equals",))
MATH = Grader(extraction=("boxed",), equivalence="math")
DEADLINE_S = 1.0


def test_grading_as_text():
    texts = ["> 1 = 4 5 6", "= 4 5", "4 5 6", "= 04 5 6"]
    expected = [Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSABLE, Verdict.WRONG]
    assert TEXT.grade(texts, ["4 5 6"] * 4) == expected
    assert TEXT.is_right(texts, ["4 5 6"] * 4).tolist() == [True, False, False, False]


def test_nothing_equals_an_empty_reference():
    for grader in (TEXT, MATH):
        for text in ("", "=", "= ", "= 0", r"\boxed{}", r"\boxed{ }"):
            assert grader.grade([text], [""]) != [Verdict.CORRECT]


def test_the_table_of_answers_is_large():
    pairs = [(a, b) for groups in FAMILIES.values() for group in groups for a in group for b in group]
    assert len(pairs) >= 300
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_equal_if_and_only_if_in_one_group(family):
    groups = FAMILIES[family]
    same = [(a, b) for group in groups for a, b in itertools.product(group, group)]
    different = [(a, b) for g, h in itertools.permutations(groups, 2) for a, b in itertools.product(g, h)]
    verdicts = MATH.compare([b for _, b in same + different], [a for a, _ in same + different])
    missed = [pair for pair, verdict in zip(same, verdicts, strict=False) if verdict is not Verdict.CORRECT]
    false = [pair for pair, v in zip(different, verdicts[len(same) :], strict=True) if v is Verdict.CORRECT]
    assert not false
    assert not missed


@pytest.mark.slow
def test_hostile_text_costs_at_most_its_deadline():
    """And the workers work afterwards."""
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=2, deadline_s=DEADLINE_S)
    grader.compare(["x+1"], ["1+x"])  # workers have started
    started = time.monotonic()
    golds = ["42", "x^2+1", r"\frac{1}{2}"]
    pairs = [(gold, text) for text in HOSTILE for gold in golds]
    verdicts = grader.compare([text for _, text in pairs], [gold for gold, _ in pairs])
    assert Verdict.CORRECT not in verdicts
    assert time.monotonic() - started < len(pairs) * DEADLINE_S / 2
    assert grader.grade([r"\boxed{x+1}"], ["1+x"]) == [Verdict.CORRECT]  # workers were replaced


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])  # it dies; it hangs
def test_a_dead_or_hanging_worker_is_replaced(number):
    """Its pair stays undecided, and the pool compares the other pairs."""
    pool = AlgebraPool(num_workers=1, deadline_s=2 * DEADLINE_S)
    try:
        assert pool.compare([("x+1", "1+x")]) == [True]
        (first,) = pool.workers
        first.process.send_signal(number)
        assert pool.compare([("x+1", "1+x"), ("x+2", "2+x"), ("x+2", "x+3")]) == [None, True, False]
        (second,) = pool.workers
        assert first.process.returncode == -signal.SIGKILL
        assert second.process.poll() is None
        assert pool.compare([("x+1", "1+x")]) == [True]
        assert pool.workers == [second]
    finally:
        pool.close()


def test_the_memory_of_a_worker_is_limited():
    pool = AlgebraPool(num_workers=1, deadline_s=DEADLINE_S)
    try:
        assert pool.compare([("x+1", "1+x")]) == [True]
        limits = pathlib.Path(f"/proc/{pool.workers[0].process.pid}/limits").read_text()
    finally:
        pool.close()
    (most,) = (line.split()[3] for line in limits.splitlines() if line.startswith("Max address space"))
    assert int(most) <= worker.MAX_MEMORY_BYTES


def test_algebra_past_its_deadline_is_a_timeout():
    """A pair that text decides is graded without a deadline."""
    # No algebra takes less than 0.1 ms.
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=1e-4)
    fast = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=DEADLINE_S)
    assert grader.compare(["x+1", "x+1"], ["1+x", "x+1"]) == [Verdict.TIMEOUT, Verdict.CORRECT]
    assert fast.compare(["x+1", "x+1"], ["1+x", "x+2"]) == [Verdict.CORRECT, Verdict.WRONG]


def test_consecutive_timeouts_are_verdicts():
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=1e-4)
    answers = [f"x+{number}" for number in range(1, 6)]
    assert grader.compare(answers, [f"{number}+x" for number in range(1, 6)]) == [Verdict.TIMEOUT] * 5


def test_a_list_without_blanks_equals_one_with_blanks():
    """`120,144` may also be the number 120144."""
    pairs = [("120,144", "120, 144"), ("120, 144", "120,144"), ("120144", "120,144"), ("120, 144", "144, 120")]
    assert all(equivalence.are_equal(*pair) or MATH.compare(pair[1:], pair[:1]) == [Verdict.CORRECT] for pair in pairs)
    assert MATH.compare(["120, 144"], ["120144"]) == [Verdict.WRONG]


ANSWERS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=r"0123456789\frac{}/^_+-.,()[]x ", max_size=30),
    st.sampled_from([answer for groups in FAMILIES.values() for group in groups for answer in group]),
)


@given(ANSWERS)
def test_an_answer_equals_itself(answer):
    if answer.strip():
        assert equivalence.are_equal(answer, answer) is True


@given(ANSWERS, ANSWERS)
def test_what_is_decided_without_algebra_is_symmetric(a, b):
    assert equivalence.are_equal(a, b) == equivalence.are_equal(b, a)


@settings(max_examples=60, deadline=None)
@given(*[st.sampled_from([answer for groups in FAMILIES.values() for group in groups for answer in group])] * 2)
def test_verdicts_are_symmetric(a, b):
    assert MATH.compare([a], [b]) == MATH.compare([b], [a])


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
def test_fractions_are_exact(numerator, denominator):
    ways = [f"{numerator}/{denominator}", rf"\frac{{{numerator}}}{{{denominator}}}"]
    assert all(equivalence.are_equal(a, b) is True for a in ways for b in ways)
    assert equivalence.are_equal(ways[0], f"{numerator + 1}/{denominator}") is False


@given(st.text(max_size=400))
def test_bounds_are_checked_without_an_error(text):
    equivalence.is_bounded(text)


def test_votes_unify_spellings():
    texts = [rf"\boxed{{{answer}}}" for answer in (r"\frac12", "0.5", "1/2", "x")] + ["none"]
    assert MATH.votes(texts, ["2/4"]) == ([["1/2", "1/2", "1/2", "x", None]], ["1/2"])
    assert MATH.votes([*texts, *texts], ["", "y"])[1] == ["", "y"]


@pytest.mark.parametrize(
    ("answers", "reference", "same", "as_reference"),
    [
        ((r"2\sqrt{2}", r"\sqrt{8}", "3"), r"\sqrt{8}", (0, 1), (0, 1)),
        (("x+1", "1+x", "x"), "1+x", (0, 1), (0, 1)),
        ((r"5\text{ cm}", r"5\text{ m}", r"5\text{ cm}"), r"5\text{ m}", (0, 2), (1,)),
    ],
)
def test_votes_unify_answers_that_algebra_finds_equal(answers, reference, same, as_reference):
    ((votes,), (expected,)) = MATH.votes([rf"\boxed{{{answer}}}" for answer in answers], [reference])
    assert {votes.index(vote) for vote in votes} == {0, *range(3)} - set(same[1:])
    assert tuple(index for index, vote in enumerate(votes) if vote == expected) == as_reference


def test_votes_as_text_ignore_only_whitespace():
    texts = ["= 1 2", "=  1   2", "= 12", "none"]
    grader = Grader(extraction=("after_equals",), equivalence="text")
    assert grader.votes(texts, ["1  2", "12"]) == ([["1 2", "1 2"], ["12", None]], ["1 2", "12"])


def test_the_command_line_keeps_the_order():
    lines = [
        '{"gold": "1/2", "answer": "0.5"}',
        '{"gold": "x+1", "answer": "so \\\\boxed{1+x}"}',
        '{"gold": "2", "answer": "3"}',
        '{"gold": "2", "answer": ""}',
        '{"gold": "2"}',
        "not json",
        "[" * 100_000,
        '{"gold": "2", "answer": 2}',
    ]
    done = subprocess.run(
        [sys.executable, "-m", "soar_jax.grading"],
        input="\n".join(lines),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
    assert verdicts == ["correct", "correct", "wrong", *["unparsable"] * 5]


@pytest.mark.parametrize(
    ("gold", "answer", "is_right"),
    [
        ("7", r"7\text{ or 8}", False),
        ("7", r"7\text{.5}", False),
        ("(1,2)", r"(1,2)\text{ and (2,1)}", False),
        ("5", r"5\text{ thousands}", False),
        ("5", r"5\text{ cm}", True),
        ("2+3i", "2 + 3 i", True),
        ("0", "1.000.000", False),
        (r"m n-\lfloor m / 2\rfloor", r"mn-\lfloor m/2\rfloor", True),
        (r"\lfloor n/2\rfloor", r"\lfloor n/3\rfloor", False),
        (r"k \geqslant 2", r"k \ge 2", True),
    ],
)
def test_words_after_an_answer_and_spellings(gold, answer, is_right):
    (verdict,) = MATH.compare([answer], [gold])
    assert (verdict is Verdict.CORRECT) == is_right


READABLE = [
    "5",
    "-0.5",
    "1,000",
    r"\frac12",
    r"x^2+1",
    r"\sqrt{2}",
    r"(1, 2)",
    r"5\text{ cm}",
    "x > 3",
    r"\{1, 2\}",
    "A",
]
UNREADABLE = [
    "",
    " ",
    "...",
    "1+",
    "(1,2",
    r"\frac{1}{",
    r"\sqrt{",
    "?",
    "5 5",
    "naïve",
    "9^{9^{9}}",
    r"\int x dx",
    "=",
    "$",
]


def test_numbers_and_expressions_are_readable():
    assert MATH.is_readable(READABLE + UNREADABLE) == [True] * len(READABLE) + [False] * len(UNREADABLE)
    assert MATH.is_readable([]) == []


def test_as_text_all_answers_are_readable():
    assert TEXT.is_readable(READABLE + UNREADABLE) == [True] * len(READABLE + UNREADABLE)


def test_hostile_text_is_read_or_refused():
    """And the workers read on."""
    answers = [" ".join(text.split())[:MAX_ANSWER_CHARACTERS] for text in HOSTILE]  # as they are extracted
    found = {text for text, is_readable in zip(answers, MATH.is_readable(answers), strict=True) if is_readable}
    assert {"1", "1/0", "(x+y+z+a+b+c)^{99}"} <= found
    assert not any(re.search(r"__|import|input|9999999999|[{(]{20}|10\^\{10", text) for text in found)
    assert MATH.is_readable(["x+1"]) == [True]


def test_an_answer_that_is_not_parsed_at_its_deadline_is_unreadable():
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=1e-4)
    assert grader.is_readable(["x+1", "5"]) == [False, True]
