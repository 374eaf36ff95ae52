r"""Compares the shapes of two answers, down to their values.

A verdict is True, False or None: unknown. What shapes alone cannot decide is asked of a judge. There are two: one is
cheap and often does not know (`equivalence.py`); the other uses computer algebra and always does (`symbolic.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from soar_jax.grading.shapes import Chain, Collection, Interval, Kind, Named, Shape, Value

Verdict = bool | None
_LETTER = re.compile(r"[A-Za-z](?:_\{\w+\})?")
MAX_MATCHED = 40  # entries that differ in writing, which are compared with each other

_SETS = (Kind.UNION, Kind.INTERSECTION, Kind.DIFFERENCE)
_EQUALITIES = {"=", "\\approx"}
_INEQUALITIES = {"<", "\\le", "\\ne"}


class ShapeJudge(Protocol):
    """Decides what shapes alone cannot."""

    def values(self, gold: Value, answer: Value) -> Verdict:
        """Returns whether two values are equal."""

    def is_near(self, exact: Value, rounded: Value) -> Verdict:
        """Returns whether the second value is the first one, rounded."""

    def relations(self, gold: Shape, answer: Shape) -> Verdict:
        """Returns whether two equations or inequalities are equivalent."""

    def sets(self, gold: Shape, answer: Shape) -> Verdict:
        """Returns whether two sets of numbers are equal."""


def match(gold: Shape, answer: Shape, judge: ShapeJudge) -> Verdict:
    """Returns whether two answers are equal."""
    return _Matcher(judge).match(gold, answer)


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Returns False if any verdict is, or else None if any is; stops at the first False."""
    is_known = True
    for verdict in verdicts:
        if verdict is False:
            return False
        is_known = is_known and verdict is not None
    return True if is_known else None


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Returns True if any verdict is, or else None if any is; stops at the first True."""
    is_known = True
    for verdict in verdicts:
        if verdict:
            return True
        is_known = is_known and verdict is not None
    return False if is_known else None


class _Matcher:
    """Chooses how to compare two shapes by their types."""

    def __init__(self, judge: ShapeJudge) -> None:
        self._judge = judge

    def match(self, gold: Shape, answer: Shape) -> Verdict:
        if gold == answer:
            return True
        for applies, compare in self._rules():
            for first, second in ((gold, answer), (answer, gold)):
                if applies(first, second):
                    return compare(first, second)
        return False

    def _rules(self) -> Sequence[tuple[Callable[[Shape, Shape], bool], Callable[[Shape, Shape], Verdict]]]:
        """Returns the rules for pairs of shapes; the first that applies decides."""
        return (
            (lambda a, b: isinstance(a, Value) and isinstance(b, Value), self._values),
            (lambda a, b: isinstance(a, Named) and isinstance(b, Named), self._named),
            (lambda a, b: isinstance(a, Named) and _is_equation(b), self._equations),
            (lambda a, b: isinstance(a, Named), lambda a, b: self.match(a.body, b)),
            (lambda a, b: isinstance(a, Chain) and isinstance(b, Chain), self._chains),
            (lambda a, b: isinstance(a, Chain) and set(a.signs) <= _EQUALITIES, self._chain_and_value),
            (lambda a, b: isinstance(a, Chain), self._chain_and_set),
            (lambda a, b: isinstance(a, Interval) and isinstance(b, Interval), self._intervals),
            (lambda a, b: _is_set_operation(a), self._sets),
            (lambda a, b: isinstance(a, Interval) and a.is_pair, self._pair),
            (lambda a, b: isinstance(a, Collection) and isinstance(b, Collection), self._collections),
            (lambda a, b: _is_single(a), lambda a, b: self.match(a.entries[0], b)),
        )

    def _values(self, gold: Shape, answer: Shape) -> Verdict:
        assert isinstance(gold, Value)
        assert isinstance(answer, Value)
        if gold.unit and answer.unit and gold.unit != answer.unit:
            return False
        return any_of(
            True if first.text == second.text else self._judge.values(first, second)
            for first in _readings(gold)
            for second in _readings(answer)
        )

    def _named(self, gold: Shape, answer: Shape) -> Verdict:
        """Compares what is named; two different letters are different answers."""
        assert isinstance(gold, Named)
        assert isinstance(answer, Named)
        if gold.name != answer.name and _LETTER.fullmatch(gold.name) and _LETTER.fullmatch(answer.name):
            return self._judge.relations(gold, answer)
        return self.match(gold.body, answer.body)

    def _equations(self, gold: Shape, answer: Shape) -> Verdict:
        return self._judge.relations(gold, answer)

    def _chains(self, gold: Shape, answer: Shape) -> Verdict:
        assert isinstance(gold, Chain)
        assert isinstance(answer, Chain)
        if gold.signs == answer.signs and self._in_order(gold.parts, answer.parts):
            return True
        return self._judge.relations(gold, answer)

    def _chain_and_value(self, chain: Shape, other: Shape) -> Verdict:
        """Compares a chain of equal values with one: all are equal to it, or it is the rounded last one."""
        assert isinstance(chain, Chain)
        exact, rounded = _split_chain(chain)
        is_exact = all_of(self.match(part, other) for part in exact)
        if not rounded or (is_exact and "\\approx" in chain.signs):
            return is_exact
        is_near = all_of(self._is_near(part, rounded[-1]) for part in exact)
        return all_of((is_near, any_of((is_exact, self.match(rounded[-1], other)))))

    def _is_near(self, exact: Shape, rounded: Shape) -> Verdict:
        if not (isinstance(exact, Value) and isinstance(rounded, Value)):
            return False
        return self._judge.is_near(exact, rounded)

    def _chain_and_set(self, chain: Shape, other: Shape) -> Verdict:
        assert isinstance(chain, Chain)
        is_inequality = set(chain.signs) <= _INEQUALITIES
        return self._judge.sets(chain, other) if is_inequality and _is_set(other) else False

    def _intervals(self, gold: Shape, answer: Shape) -> Verdict:
        assert isinstance(gold, Interval)
        assert isinstance(answer, Interval)
        if gold.brackets != answer.brackets or not _have_one_variable(gold, answer):
            return False
        return self._in_order((gold.low, gold.high), (answer.low, answer.high))

    def _sets(self, gold: Shape, answer: Shape) -> Verdict:
        """Compares the parts of two sets, or else the sets."""
        assert isinstance(gold, Collection)
        if isinstance(answer, Collection) and gold.kind is answer.kind:
            matched = self._in_order if gold.kind is Kind.DIFFERENCE else self._in_any_order
            if matched(gold.entries, answer.entries):
                return True
        return self._judge.sets(gold, answer) if _is_set(answer) and _have_one_variable(gold, answer) else False

    def _pair(self, pair: Shape, other: Shape) -> Verdict:
        """Compares a tuple of two, which may be an interval, with a collection."""
        assert isinstance(pair, Interval)
        entries = (pair.low, pair.high)
        return self._collections(Collection(kind=Kind.TUPLE, entries=entries), other) if _is_list(other) else False

    def _collections(self, gold: Shape, answer: Shape) -> Verdict:
        """Compares lists, sets and tuples; no set is a tuple."""
        assert isinstance(gold, Collection)
        assert isinstance(answer, Collection)
        kinds = {gold.kind, answer.kind}
        if kinds == {Kind.SET, Kind.TUPLE}:
            return any_of(
                self.match(single.entries[0], other) if _is_single(single) else False
                for single, other in ((gold, answer), (answer, gold))
            )
        entries, others = gold.entries, answer.entries
        if _has_names(entries) and _has_names(others):
            return self._by_name(entries, others)
        is_ordered = Kind.TUPLE in kinds or _has_names(entries) != _has_names(others)
        return (self._in_order if is_ordered else self._in_any_order)(_unnamed(entries), _unnamed(others))

    def _by_name(self, entries: Sequence[Shape], others: Sequence[Shape]) -> Verdict:
        """Compares entries of the same name."""
        first, second = (sorted(side, key=_name) for side in (entries, others))
        if [*map(_name, first)] != [*map(_name, second)]:
            return False
        return self._in_order(first, second)

    def _in_order(self, entries: Sequence[Shape], others: Sequence[Shape]) -> Verdict:
        if len(entries) != len(others):
            return False
        return all_of(self.match(a, b) for a, b in zip(entries, others, strict=True))

    def _in_any_order(self, entries: Sequence[Shape], others: Sequence[Shape]) -> Verdict:
        """Pairs each entry with an equal one that no other has."""
        if len(entries) != len(others):
            return False
        left, unmatched = list(others), []
        for entry in entries:
            left.remove(entry) if entry in left else unmatched.append(entry)
        if len(left) > MAX_MATCHED:
            return False
        is_known = True
        for entry in unmatched:
            verdicts = [self.match(entry, other) for other in left]
            if True in verdicts:
                del left[verdicts.index(True)]
            elif None not in verdicts:
                return False
            else:
                is_known = False
        return True if is_known else None


def _readings(value: Value) -> Iterator[Value]:
    """Yields a value, and the product of it and its unit if that may be a variable."""
    yield value
    if value.product:
        yield Value(text=value.product)


def _is_equation(shape: Shape) -> bool:
    return isinstance(shape, Chain) and shape.signs == ("=",) and not _is_constant_chain(shape)


def _is_constant_chain(shape: Chain) -> bool:
    """Returns whether a side of an equation is a number, and the other has no letter: it states a value."""
    texts = [part.text for part in shape.parts if isinstance(part, Value)]
    return len(texts) == 2 and not any(character.isalpha() for character in texts[0])


def _split_chain(chain: Chain) -> tuple[Sequence[Shape], Sequence[Shape]]:
    """Returns the exact and the rounded parts of a chain; in a longer one, an expression in letters names the rest."""
    parts = chain.parts
    place = chain.signs.index("\\approx") + 1 if "\\approx" in chain.signs else len(parts)
    if place == len(parts) and _is_decimal(parts[-1]) and not any(map(_is_decimal, parts[:-1])):
        place -= 1
    is_named = place > 2 and _has_letters(parts[0]) and not any(map(_has_letters, parts[1:]))
    return parts[is_named:place], parts[place:]


def _is_decimal(shape: Shape) -> bool:
    return isinstance(shape, Value) and re.fullmatch(r"-?\d*\.\d+", shape.text) is not None


def _has_letters(shape: Shape) -> bool:
    return isinstance(shape, Value) and re.search(r"(?<![\\A-Za-z])[A-Za-z]", shape.text) is not None


def _is_set_operation(shape: Shape) -> bool:
    return isinstance(shape, Collection) and shape.kind in _SETS


def _is_list(shape: Shape) -> bool:
    return isinstance(shape, Collection) and shape.kind in (Kind.LIST, Kind.TUPLE, Kind.SET)


def _is_set(shape: Shape) -> bool:
    is_set = isinstance(shape, Collection) and shape.kind in (Kind.SET, *_SETS)
    return is_set or isinstance(shape, Interval) or (isinstance(shape, Chain) and set(shape.signs) <= _INEQUALITIES)


def _have_one_variable(gold: Shape, answer: Shape) -> bool:
    """Returns whether bounds of both answers, as far as they name a variable, name the same one."""
    return len(_variables(gold) | _variables(answer)) <= 1


def _variables(shape: Shape) -> set[str]:
    if isinstance(shape, Interval):
        return {shape.variable} - {""}
    if _is_set_operation(shape):
        return set().union(*map(_variables, shape.entries))  # type: ignore[union-attr]
    return set()


def _is_single(shape: Shape) -> bool:
    return isinstance(shape, Collection) and shape.kind is Kind.SET and len(shape.entries) == 1


def _has_names(entries: Sequence[Shape]) -> bool:
    """Returns whether entries have different names, as in `x = 1, y = 2`."""
    return len({_name(entry) for entry in entries} - {""}) > 1


def _name(shape: Shape) -> str:
    return shape.name if isinstance(shape, Named) else ""


def _unnamed(entries: Sequence[Shape]) -> Sequence[Shape]:
    """Drops the names of entries unless they tell the entries apart."""
    if _has_names(entries):
        return entries
    return [entry.body if isinstance(entry, Named) else entry for entry in entries]
