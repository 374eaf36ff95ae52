"""Measures pairs of answers graded per second: our grader, and plain calls of math-verify, one pair at a time.

Pairs come from the families of the grading tests, all answers of a family against each other, and from generators of
fractions, decimals, tuples, polynomials and radicals, half of them equal. Every round grades new pairs, so that no
cache helps.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks import interleave
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax.grading.grader import Grader, Verdict
from tests.grading.answers import FAMILIES

READS = ("cores",)
PAIRS_A_ROUND = 400


class Pair(NamedTuple):
    """An answer to grade, its reference, and whether they are equal."""

    gold: str
    answer: str
    same: bool


def _family_pairs() -> list[Pair]:
    """Pairs all answers of each family with each other."""
    pairs = []
    for groups in FAMILIES.values():
        marked = [(number, text) for number, group in enumerate(groups) for text in group]
        pairs += [Pair(a, b, i == j) for (i, a), (j, b) in itertools.permutations(marked, 2)]
    return pairs


def _fraction(rng: random.Random) -> tuple[str, str, str]:
    a, b, k = rng.randint(1, 99), rng.randint(2, 99), rng.randint(2, 9)
    return rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{a * k}}}{{{b * k}}}", rf"\frac{{{a + 1}}}{{{b}}}"


def _decimal(rng: random.Random) -> tuple[str, str, str]:
    n = rng.randint(1, 9999)
    return f"{n / 100:.2f}", rf"\frac{{{n}}}{{100}}", f"{(n + 1) / 100:.2f}"


def _tuple(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.randint(-9, 99), rng.randint(1, 99)
    return f"({a},{b})", rf"\left({a}, \frac{{{2 * b}}}{{2}}\right)", f"({b + 100},{a})"


def _polynomial(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.randint(1, 30), rng.randint(1, 30)
    return f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"x^2+{a + b}x+{a * b + 1}"


def _radical(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.randint(2, 30), rng.choice([2, 3, 5, 7, 11])
    return rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}", rf"{a}\sqrt{{{b + 2}}}"


MAKERS: tuple[Callable[[random.Random], tuple[str, str, str]], ...] = (
    _fraction,
    _decimal,
    _tuple,
    _polynomial,
    _radical,
)  # each makes an answer, an equal one in another notation, and a different one


def pairs(count: int) -> list[Pair]:
    """Returns `count` distinct pairs in random order, half of them generated."""
    rng = random.Random(0)
    found = dict.fromkeys(rng.sample(_family_pairs(), count // 2))
    while len(found) < count:
        gold, same, other = rng.choice(MAKERS)(rng)
        is_same = rng.random() < 0.5
        found[Pair(gold, same if is_same else other, is_same)] = None
    mixed = list(found)
    rng.shuffle(mixed)
    return mixed


def _grade(grader: Grader, batch: list[Pair]) -> list[bool]:
    verdicts = grader.compare([pair.answer for pair in batch], [pair.gold for pair in batch])
    return [verdict is Verdict.CORRECT for verdict in verdicts]


def _math_verify(batch: list[Pair]) -> list[bool]:
    from math_verify import parse, verify

    return [verify(parse(f"${pair.gold}$"), parse(f"${pair.answer}$")) for pair in batch]


def measure(options: Options) -> Iterator[Section]:
    """Yields one table with a row per side."""
    drawn = pairs(PAIRS_A_ROUND * (options.rounds + 1))
    batches = [drawn[start : start + PAIRS_A_ROUND] for start in range(0, len(drawn), PAIRS_A_ROUND)]
    grader = Grader(extraction=("boxed",), equivalence="math", num_workers=options.cores)

    def side(grade: Callable[[list[Pair]], list[bool]]) -> Callable[[int], tuple[float, float]]:
        def work(number: int) -> tuple[float, float]:
            batch, started = batches[number], time.perf_counter()
            verdicts = grade(batch)
            rate = len(batch) / (time.perf_counter() - started)
            num_right = sum(verdict == pair.same for verdict, pair in zip(verdicts, batch, strict=True))
            return rate, num_right / len(batch)

        return work

    sides = {"soar_jax": side(lambda batch: _grade(grader, batch)), "math-verify": side(_math_verify)}
    found = interleave.interleave(sides, options.rounds)
    rates = {name: [rate for rate, _ in rounds] for name, rounds in found.items()}
    yield Section(
        title=f"grading: {PAIRS_A_ROUND} pairs a round",
        rows=[
            {
                "side": name,
                "pairs/s": interleave.median(rates[name]),
                "range": interleave.spread(rates[name]),
                "right, %": 100 * sum(right for _, right in rounds) / len(rounds),
                "x": interleave.ratio(rates[name], rates["math-verify"]),
            }
            for name, rounds in found.items()
        ],
        note=f"soar_jax uses {options.cores} worker processes; math-verify's parse and verify run in this process with "
        "their own time limits. Right: the verdict agrees with how the pair was made.",
    )
