"""Grades final answers against reference answers."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Sequence

import numpy as np

from soar_jax.grading import equivalence
from soar_jax.grading.extraction import extract
from soar_jax.grading.pool import Outcome, shared_pool
from soar_jax.grading.writing import canonical
from soar_jax.parallel import processes

EQUIVALENCES = ("text", "math")
_MAX_COMPARED = 4  # most common answers of a question that each other answer is compared with, since algebra is slow


class Verdict(enum.Enum):
    """Outcome of grading one answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"  # no final answer in the text
    TIMEOUT = "timeout"  # undecided after the work that its deadline allows; counts as wrong
    LOST = "lost"  # undecided, since its process died or was stuck for the wall time; counts as wrong


_VERDICTS = {
    Outcome.YES: Verdict.CORRECT,
    Outcome.NO: Verdict.WRONG,
    Outcome.TIMEOUT: Verdict.TIMEOUT,
    Outcome.LOST: Verdict.LOST,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grader:
    """Extracts and compares final answers."""

    extraction: tuple[str, ...]  # names of ANSWER_FORMATS, tried in order
    equivalence: str = "text"  # "text": equal up to whitespace; "math": the same mathematical object
    num_workers: int = 2  # worker processes for comparisons by algebra
    deadline_s: float = 5.0  # work of a comparison by algebra, in seconds of `worker.CALLS_PER_S` calls

    def answer(self, text: str) -> str | None:
        """Extracts the final answer of a text; None if it has none."""
        return extract(text, self.extraction)

    def votes(self, texts: Sequence[str], references: Sequence[str]) -> tuple[list[list[str | None]], list[str]]:
        """Extracts the answers to N questions and gives equal answers to one question the same spelling.

        An answer is compared by algebra only with the most common answers to its question.

        Args:
          texts: N groups of equal size, one per question.
          references: one reference answer per question; empty if there is none.

        Returns:
          The answers, one list per question, with None for a text without an answer. And the references, spelled like
          the answers that they equal.
        """
        size = len(texts) // len(references)
        answers = [self.answer(text) for text in texts]
        groups = [answers[start : start + size] for start in range(0, len(answers), size)]
        distinct = [
            self._by_frequency([*group, reference]) for group, reference in zip(groups, references, strict=True)
        ]
        pairs = [
            (name, common)
            for names in distinct
            for index, name in enumerate(names)
            for common in names[:index][:_MAX_COMPARED]
        ]
        verdicts = self.compare([name for name, _ in pairs], [common for _, common in pairs]) if pairs else []
        equal = {pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict is Verdict.CORRECT}
        spellings = [_spellings(names, equal) for names in distinct]
        return (
            [[self._spell(answer, known) for answer in group] for group, known in zip(groups, spellings, strict=True)],
            [self._spell(reference, known) or "" for reference, known in zip(references, spellings, strict=True)],
        )

    def _by_frequency(self, answers: Sequence[str | None]) -> list[str]:
        """Returns the distinct answers in plain form, the most common first."""
        return [name for name, _ in Counter(self._plain(answer) for answer in answers if answer).most_common()]

    def _spell(self, answer: str | None, spellings: dict[str, str]) -> str | None:
        return spellings[self._plain(answer)] if answer else None

    def _plain(self, answer: str) -> str:
        """Returns one spelling for answers that are equal without algebra."""
        if self.equivalence == "text":
            return " ".join(answer.split())
        return equivalence.spell(answer)

    def grade(self, texts: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """Grades texts against reference answers."""
        return self.compare([self.answer(text) for text in texts], references)

    def compare(self, answers: Sequence[str | None], references: Sequence[str]) -> list[Verdict]:
        """Grades final answers against reference answers, split over the processes; None is unparsable."""
        verdicts = tuple(Verdict)

        def grade(pairs: Sequence[tuple[str, str | None]]) -> list[int]:
            decided = self._decide({(gold, answer) for gold, answer in pairs if answer is not None})
            found = (Verdict.UNPARSABLE if answer is None else decided[gold, answer] for gold, answer in pairs)
            return [verdicts.index(verdict) for verdict in found]

        pairs = list(zip(references, answers, strict=True))
        return [verdicts[index] for index in processes.map_across_processes(grade, pairs)]

    def is_right(self, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Returns whether each text's final answer equals its reference: [len(texts)] bool."""
        return np.array([verdict is Verdict.CORRECT for verdict in self.grade(texts, references)], bool)

    def is_readable(self, answers: Sequence[str]) -> list[bool]:
        """Returns whether each answer can be graded by more than its spelling, split over the processes.

        As text every answer can. Otherwise it must be a number, or a bounded expression that the symbolic verifier
        parses within its deadline. Words count as products of their letters, as they do for the verifier.
        """

        def read(answers: Sequence[str]) -> list[int]:
            found = {answer: equivalence.is_readable(answer) for answer in answers}
            undecided = [answer for answer, is_readable in found.items() if is_readable is None]
            pool = shared_pool(self.num_workers, self.deadline_s)
            parsed = pool.parse([canonical(text) for text in undecided])
            found |= {text: outcome is Outcome.YES for text, outcome in zip(undecided, parsed, strict=True)}
            return [found[answer] is True for answer in answers]

        if self.equivalence == "text":
            return [True] * len(answers)
        return [bool(is_readable) for is_readable in processes.map_across_processes(read, answers)]

    def _decide(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        if self.equivalence == "text":
            return {(gold, answer): _verdict(self._plain(gold) == self._plain(answer)) for gold, answer in pairs}
        equal = {pair: equivalence.are_equal(*pair) for pair in sorted(pairs)}
        undecided = [pair for pair, is_equal in equal.items() if is_equal is None]
        found = shared_pool(self.num_workers, self.deadline_s).compare(
            [(canonical(gold), canonical(answer)) for gold, answer in undecided]
        )
        decided = {pair: _verdict(is_equal) for pair, is_equal in equal.items() if is_equal is not None}
        return decided | {pair: _VERDICTS[outcome] for pair, outcome in zip(undecided, found, strict=True)}


def _verdict(is_equal: bool) -> Verdict:
    return Verdict.CORRECT if is_equal else Verdict.WRONG


def _spellings(names: Sequence[str], equal: set[tuple[str, str]]) -> dict[str, str]:
    """Maps each answer of a question to the most common answer that it equals."""
    spellings: dict[str, str] = {}
    for index, name in enumerate(names):
        candidates = (common for common in names[:index] if spellings[common] == common and (name, common) in equal)
        spellings[name] = next(candidates, name)
    return spellings
