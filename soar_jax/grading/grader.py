"""Is an answer the reference answer?"""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Sequence

import numpy as np

from soar_jax.grading import equivalence
from soar_jax.grading.extraction import extract
from soar_jax.grading.pool import shared_pool
from soar_jax.parallel import processes

EQUIVALENCES = ("text", "math")
_MOST_COMMON = 4  # answers to a question that its others are compared with: algebra takes time


class Verdict(enum.Enum):
    """What became of one answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"  # no final answer in the text
    TIMEOUT = "timeout"  # not known to be right when its time was up; counts as wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grader:
    """How final answers are found and compared."""

    extraction: tuple[str, ...]  # names of EXTRACTORS, tried in turn
    equivalence: str = "text"  # "text": equal as text, blanks apart; "math": the same mathematical object
    num_workers: int = 2  # processes for what only algebra can decide
    deadline_s: float = 5.0  # of one such comparison

    def answer(self, text: str) -> str | None:
        """The final answer of a text; None where there is none."""
        return extract(text, self.extraction)

    def votes(self, texts: Sequence[str], references: Sequence[str]) -> tuple[list[list[str | None]], list[str]]:
        """Final answers to N questions, those of one question that are equal written alike.

        Answers that only algebra can tell apart are compared with the question's most common ones alone.

        Args:
          texts: N groups of equal size, one a question.
          references: an answer a question to compare with; empty where there is none.

        Returns:
          The answers, a list a question; None where a text has none. And the references, written as the answers that
          they equal.
        """
        size = len(texts) // len(references)
        answers = [self.answer(text) for text in texts]
        groups = [answers[start : start + size] for start in range(0, len(answers), size)]
        common = [self._by_frequency([*group, reference]) for group, reference in zip(groups, references, strict=True)]
        pairs = [
            (one, more) for names in common for index, one in enumerate(names) for more in names[:index][:_MOST_COMMON]
        ]
        equal = {pair for pair, verdict in zip(pairs, self._verdicts(pairs), strict=True) if verdict is Verdict.CORRECT}
        written = [_alike(names, equal) for names in common]
        return (
            [[self._written(answer, known) for answer in group] for group, known in zip(groups, written, strict=True)],
            [self._written(reference, known) or "" for reference, known in zip(references, written, strict=True)],
        )

    def _by_frequency(self, answers: Sequence[str | None]) -> list[str]:
        """Different answers, the most common first."""
        return [name for name, _ in Counter(self._plain(answer) for answer in answers if answer).most_common()]

    def _verdicts(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        return self.compare([one for one, _ in pairs], [more for _, more in pairs]) if pairs else []

    def _written(self, answer: str | None, known: dict[str, str]) -> str | None:
        return known[self._plain(answer)] if answer else None

    def _plain(self, answer: str) -> str:
        """One way of writing for answers that are plainly the same."""
        if self.equivalence == "text":
            return " ".join(answer.split())
        value, unit = equivalence.normalized(answer)
        number = equivalence.exact_number(value)
        return " ".join(filter(None, [value if number is None else str(number), unit and f"\\text{{{unit}}}"]))

    def grade(self, texts: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """Grades texts against reference answers."""
        return self.compare([self.answer(text) for text in texts], references)

    def compare(self, answers: Sequence[str | None], references: Sequence[str]) -> list[Verdict]:
        """Grades final answers against reference answers, each process of a run its part; None is unparsable."""
        verdicts = tuple(Verdict)

        def grade(pairs: Sequence[tuple[str, str | None]]) -> list[int]:
            return [verdicts.index(verdict) for verdict in self._compare(pairs)]

        pairs = list(zip(references, answers, strict=True))
        return [verdicts[number] for number in processes.map_across_processes(grade, pairs)]

    def _compare(self, pairs: Sequence[tuple[str, str | None]]) -> list[Verdict]:
        decided = self._decide({(gold, answer) for gold, answer in pairs if answer is not None})
        return [Verdict.UNPARSABLE if answer is None else decided[gold, answer] for gold, answer in pairs]

    def rewards(self, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Reward 1.0 for each correct text, else 0.0: [len(texts)] float32."""
        return np.array([verdict is Verdict.CORRECT for verdict in self.grade(texts, references)], np.float32)

    def _decide(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        if self.equivalence == "text":
            return {(gold, answer): _verdict(self._plain(gold) == self._plain(answer)) for gold, answer in pairs}
        quick = {pair: equivalence.same(*pair) for pair in sorted(pairs)}
        hard = [pair for pair, same in quick.items() if same is None]
        found = shared_pool(self.num_workers, self.deadline_s).compare(
            [(equivalence.normalized(gold)[0], equivalence.normalized(answer)[0]) for gold, answer in hard]
        )
        known = {pair: _verdict(same) for pair, same in quick.items() if same is not None}
        return known | {
            pair: Verdict.TIMEOUT if same is None else _verdict(same) for pair, same in zip(hard, found, strict=True)
        }


def _alike(names: Sequence[str], equal: set[tuple[str, str]]) -> dict[str, str]:
    """How each of a question's answers is written: as the most common one that it equals."""
    written: dict[str, str] = {}
    for index, name in enumerate(names):
        written[name] = next((more for more in names[:index] if written[more] == more and (name, more) in equal), name)
    return written


def _verdict(same: bool) -> Verdict:
    return Verdict.CORRECT if same else Verdict.WRONG
