import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soar_jax.grading import bounds, equivalence, worker
from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS
from soar_jax.grading.grader import Grader, Verdict
from soar_jax.grading.pool import AlgebraPool, Outcome
from tests.conftest import ROOT
from tests.grading.answers import FAMILIES, HOSTILE

TEXT = Grader(extraction=("after_equals",))
MATH = Grader(extraction=("boxed",), equivalence="math")
DEADLINE_S = 1.0
SAME = ("x+1", "1+x")
HANGING = ("(x+1)^{999}=(x+2)^{998}", "(x+1)^{998}=(x+3)^{997}")  # for minutes, in Python
STUCK = ("x+9^{99999999}=1", "x+9^{99999998}=2")  # for minutes, in one operation


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
def test_hostile_text_is_decided_by_its_work_alone():
    """And the workers work afterwards."""
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=2, deadline_s=DEADLINE_S)
    golds = ["42", "x^2+1", r"\frac{1}{2}"]
    pairs = [(gold, text) for text in HOSTILE for gold in golds]
    verdicts = grader.compare([text for _, text in pairs], [gold for gold, _ in pairs])
    assert {Verdict.CORRECT, Verdict.LOST}.isdisjoint(verdicts)
    assert grader.grade([r"\boxed{x+1}"], ["1+x"]) == [Verdict.CORRECT]


@contextlib.contextmanager
def running(**settings):
    pool = AlgebraPool(num_workers=1, **settings)
    try:
        assert pool.compare([SAME]) == [Outcome.YES]
        yield pool
    finally:
        pool.close()


def test_a_pair_whose_worker_dies_is_compared_again():
    with running(deadline_s=DEADLINE_S) as pool:
        (first,) = pool.workers
        first.process.send_signal(signal.SIGKILL)
        assert pool.compare([SAME, ("x+2", "2+x"), ("x+2", "x+3")]) == [Outcome.YES, Outcome.YES, Outcome.NO]
        (second,) = pool.workers
        assert first.process.returncode == -signal.SIGKILL
        assert second.process.poll() is None


def test_the_wall_clock_is_the_last_resort_and_is_reported():
    """A stopped worker is replaced; its pair is lost, and the pool compares the other pairs."""
    with running(deadline_s=DEADLINE_S) as pool:
        (first,) = pool.workers
        first.process.send_signal(signal.SIGSTOP)
        pool._wall_s = 0.2  # private: no setting, since results must not depend on the load
        with pytest.warns(UserWarning, match=r"decide 1 of 1 comparisons.*stuck for 0\.2 s.*depend on the load"):
            assert pool.compare([SAME]) == [Outcome.LOST]
        assert first.process.returncode == -signal.SIGKILL
        pool._wall_s = 600.0
        assert pool.compare([SAME]) == [Outcome.YES]


def limited_to(pool, num_calls, pair):
    pool._deadline_s = num_calls / worker.CALLS_PER_S  # private: a pool keeps its deadline
    return pool.compare([pair])[0]


@contextlib.contextmanager
def load():
    """Four processes that never rest."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_verdicts_do_not_depend_on_the_load():
    """Pairs that hang, and one with just enough work or just too little have the same verdicts beside a load."""
    pair = (r"\sin^{2}(x)+1", r"1+\sin^{2}(x)")
    with running(deadline_s=DEADLINE_S) as pool:
        low, high = 1, 10**7
        while high - low > high // 2000:
            middle = (low + high) // 2
            low, high = (low, middle) if limited_to(pool, middle, pair) is Outcome.YES else (middle, high)
    enough, too_few = high + high // 200, low - low // 200

    def outcomes():
        with running(deadline_s=0.05) as pool:
            ends = [pool.compare([ended])[0] for ended in (HANGING, STUCK)]
            return [*ends, limited_to(pool, enough, pair), limited_to(pool, too_few, pair)]

    alone = outcomes()
    with load():
        assert outcomes() == alone == [Outcome.TIMEOUT, Outcome.TIMEOUT, Outcome.YES, Outcome.TIMEOUT]


def test_a_hanging_pair_does_not_cost_a_worker():
    with running(deadline_s=0.05) as pool:
        (first,) = pool.workers
        assert pool.compare([HANGING, SAME]) == [Outcome.TIMEOUT, Outcome.YES]
        assert pool.workers == [first]


def test_a_recursion_that_is_too_deep_is_still_counted():
    """The libraries catch RecursionError and continue."""
    program = """
import contextlib
from soar_jax.grading import worker

def deeper():
    deeper()

def compare(gold, answer):
    while True:
        with contextlib.suppress(RecursionError):
            deeper()

worker.are_algebraically_equal = compare
print(worker._Child().run(["1", "2"], cpu_s=600.0, num_calls=100_000))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as done:  # its input stays open
        assert done.stdout.readline().strip() == worker.TIMEOUT


def processes_of(session):
    """Ids of the processes of a session, except for those that have ended."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
            found += [path.parent.name] if int(its_session) == session and state != "Z" else []
    return found


def cpu_ticks(process):
    return int(pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11])


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="there is no /proc")
@pytest.mark.parametrize("victim", ["run", "worker", "run with a fork that holds the input of its worker"])
def test_no_process_is_left_after_a_kill(victim):
    """The children of a killed run or worker end, though a pair hangs in one of them."""
    program = f"""
import os, time
from soar_jax.grading.pool import AlgebraPool
pool = AlgebraPool(num_workers=1, deadline_s=1000.0)
pool.compare([{SAME!r}])
holder = os.fork() if {"fork" in victim} else -1
if holder == 0:
    os.close(1)
    time.sleep(60)
    os._exit(0)
print(pool.workers[0].process.pid, holder, flush=True)
pool.compare([{STUCK!r}])
"""
    run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        session, holder = map(int, run.stdout.readline().split())
        (child,) = set(processes_of(session)) - {str(session)}  # it has answered, and so is there
        before = cpu_ticks(child)
        while cpu_ticks(child) < before + 20:
            time.sleep(0.02)
        os.kill(session if victim == "worker" else run.pid, signal.SIGKILL)
        until = time.monotonic() + 60  # a second at most, on a quiet machine
        while processes_of(session) and time.monotonic() < until:
            time.sleep(0.05)
        assert not processes_of(session)
    finally:
        run.kill()
        run.communicate()
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGKILL) if holder > 0 else None


def test_the_memory_of_a_worker_is_limited():
    with running(deadline_s=DEADLINE_S) as pool:
        limits = pathlib.Path(f"/proc/{pool.workers[0].process.pid}/limits").read_text()
    (most,) = (line.split()[3] for line in limits.splitlines() if line.startswith("Max address space"))
    assert int(most) <= worker.MAX_MEMORY_BYTES


def test_algebra_past_its_deadline_is_a_timeout():
    """A pair that text decides is graded without a deadline."""
    # No algebra takes less than 500 calls.
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=1e-4)
    fast = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=DEADLINE_S)
    answers = [r"\sin^2 x+1", "x+1"]
    assert grader.compare(answers, [r"1+\sin^2 x", "1+x"]) == [Verdict.TIMEOUT, Verdict.CORRECT]
    assert fast.compare(answers, [r"1+\sin^2 x", "x+2"]) == [Verdict.CORRECT, Verdict.WRONG]


def test_consecutive_timeouts_are_verdicts():
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=1e-4)
    answers = [rf"\sin^2 x+{number}" for number in range(1, 6)]
    golds = [rf"{number}+\sin^2 x" for number in range(1, 6)]
    assert grader.compare(answers, golds) == [Verdict.TIMEOUT] * 5


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
    bounds.is_bounded(text)


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


def test_an_answer_not_parsed_by_its_deadline_is_unreadable():
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=1, deadline_s=1e-4)
    assert grader.is_readable(["x+1", "5"]) == [False, True]
