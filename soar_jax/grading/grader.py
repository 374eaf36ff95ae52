"""Is an answer the reference answer?"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np

from soar_jax.grading import equivalence
from soar_jax.grading.extraction import extract
from soar_jax.grading.pool import shared_pool
from soar_jax.parallel import hosts

EQUIVALENCES = ("text", "math")


class Verdict(enum.Enum):
    """What became of one answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"  # no final answer in the text
    TIMEOUT = "timeout"  # not known to be right when its time was up; counts as wrong


@dataclasses.dataclass(frozen=True)
class Grader:
    """How final answers are found and compared."""

    extraction: tuple[str, ...]  # names of EXTRACTORS, tried in turn
    equivalence: str = "text"  # "text": equal as text, blanks apart; "math": the same mathematical object
    num_workers: int = 2  # processes for what only algebra can decide
    deadline_s: float = 5.0  # of one such comparison

    def answer(self, text: str) -> str | None:
        """The final answer of a text; None where there is none."""
        return extract(text, self.extraction)

    def canonical(self, answer: str) -> str:
        """One way of writing for answers that are plainly the same, for votes."""
        if self.equivalence == "text":
            return " ".join(answer.split())
        value, _ = equivalence.normalized(answer)
        number = equivalence.exact_number(value)
        return value if number is None else str(number)

    def votes(self, texts: Sequence[str]) -> list[str | None]:
        """The canonical final answer of each text."""
        answers = [self.answer(text) for text in texts]
        return [None if answer is None else self.canonical(answer) for answer in answers]

    def grade(self, texts: Sequence[str], references: Sequence[str]) -> list[Verdict]:
        """Grades texts against reference answers."""
        return self.compare([self.answer(text) for text in texts], references)

    def compare(self, answers: Sequence[str | None], references: Sequence[str]) -> list[Verdict]:
        """Grades final answers against reference answers, each process of a run its part; None is unparsable."""
        verdicts = tuple(Verdict)

        def grade(pairs: Sequence[tuple[str, str | None]]) -> list[int]:
            return [verdicts.index(verdict) for verdict in self._compare(pairs)]

        pairs = list(zip(references, answers, strict=True))
        return [verdicts[number] for number in hosts.share_out(grade, pairs)]

    def _compare(self, pairs: Sequence[tuple[str, str | None]]) -> list[Verdict]:
        decided = self._decide({(gold, answer) for gold, answer in pairs if answer is not None})
        return [Verdict.UNPARSABLE if answer is None else decided[gold, answer] for gold, answer in pairs]

    def rewards(self, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Reward 1.0 for each correct text, else 0.0: [len(texts)] float32."""
        return np.array([verdict is Verdict.CORRECT for verdict in self.grade(texts, references)], np.float32)

    def _decide(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        if self.equivalence == "text":
            return {(gold, answer): _verdict(self.canonical(gold) == self.canonical(answer)) for gold, answer in pairs}
        quick = {pair: equivalence.same(*pair) for pair in sorted(pairs)}
        hard = [pair for pair, same in quick.items() if same is None]
        found = shared_pool(self.num_workers, self.deadline_s).compare(
            [(equivalence.normalized(gold)[0], equivalence.normalized(answer)[0]) for gold, answer in hard]
        )
        known = {pair: _verdict(same) for pair, same in quick.items() if same is not None}
        return known | {
            pair: Verdict.TIMEOUT if same is None else _verdict(same) for pair, same in zip(hard, found, strict=True)
        }


def _verdict(same: bool) -> Verdict:
    return Verdict.CORRECT if same else Verdict.WRONG
