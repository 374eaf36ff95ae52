"""Question quality: is a question well posed, and its answer right? Exact in the arithmetic world, else by a judge."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from soar_jax.evaluation.evaluator import Evaluator
from soar_jax.model.parameters import Params
from soar_jax.problems.arithmetic import QuestionFacts
from soar_jax.sampling.text import Draw
from soar_jax.types import QuestionAnswer

# What is wrong with a question or its answer (paper, C.4).
ERROR_CLASSES = ("none", "arithmetic", "logic", "ill_posed", "ambiguous")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """A judge's verdict on a question and its answer; None where it gave none."""

    well_posed: bool | None
    right: bool | None
    error_class: str | None = None  # one of `ERROR_CLASSES`; only judges that read a question know
    verified_answer: str | None = None  # the judge's own answer


UNKNOWN = Judgement(well_posed=None, right=None)


class Judge(Protocol):
    """Judges questions and their answers."""

    num_failures: int  # questions without a verdict

    def judge(self, pairs: Sequence[QuestionAnswer]) -> list[Judgement]:
        """Returns one judgement per pair."""


def judge_by_facts(facts: QuestionFacts, answer: str) -> Judgement:
    """Exact judgement: well posed if the question has a true answer, right if `answer` equals it."""
    if facts.true_answer is None:
        return Judgement(well_posed=False, right=False)
    return Judgement(well_posed=True, right=" ".join(answer.split()) == facts.true_answer)


@dataclasses.dataclass(kw_only=True)
class SelfConsistencyJudge:
    """Takes the base model's majority answer for the truth.

    A question is well posed if at least a fraction `agreement` of the samples give the most common answer; an answer
    is right if it equals that one. A weak judge: it reports the base model's beliefs.
    """

    evaluator: Evaluator
    weights: Params
    draw: Draw
    agreement: float
    num_failures: int = 0

    def judge(self, pairs: Sequence[QuestionAnswer]) -> list[Judgement]:
        questions = [pair.question for pair in pairs]
        judgements: list[Judgement] = []
        for where, texts in self.evaluator.iterate_texts(self.weights, questions, self.draw):
            references = [pair.answer for pair in pairs[where]]
            votes, answers = self.evaluator.grader.votes(texts.ravel().tolist(), references)
            judgements += [judge_by_votes(*row, self.agreement) for row in zip(votes, answers, strict=True)]
        return judgements


def judge_by_votes(votes: Sequence[str | None], answer: str, agreement: float) -> Judgement:
    """Well posed if the most common vote has at least a fraction `agreement` of `votes`; None is no vote.

    Votes and `answer` are in canonical form: equal answers are equal strings.
    """
    top = Counter(vote for vote in votes if vote is not None).most_common(1)
    if not top or top[0][1] < agreement * len(votes):
        return Judgement(well_posed=False, right=False)
    return Judgement(well_posed=True, right=answer == top[0][0])
