"""Is a question well posed, and is its answer right? Exact where the problems' source knows, else a judge."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import jax

from soar_jax.grading.grader import Grader
from soar_jax.model.parameters import Params
from soar_jax.problems.arithmetic import QuestionFacts
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.text import TextSampler
from soar_jax.types import QuestionAnswer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """A judge's word on a question and its answer; None where it could not say."""

    well_posed: bool | None
    right: bool | None


UNKNOWN = Judgement(well_posed=None, right=None)


class Judge(Protocol):
    """Anything that judges questions."""

    num_failures: int  # questions that it failed to judge

    def judge(self, pairs: Sequence[QuestionAnswer]) -> list[Judgement]:
        """One judgement a pair."""


def judge_by_facts(facts: QuestionFacts, answer: str) -> Judgement:
    """Exact: well posed when there is a true answer, right when the answer is that."""
    if facts.true_answer is None:
        return Judgement(well_posed=False, right=False)
    return Judgement(well_posed=True, right=" ".join(answer.split()) == facts.true_answer)


@dataclasses.dataclass(kw_only=True)
class SelfConsistencyJudge:
    """The base model answers; its majority is taken for the truth.

    A question is well posed when the most common answer has at least `agreement` of the
    samples, and an answer right when it is that answer. A weak judge: it says what the base
    model believes.
    """

    sampler: TextSampler
    params: Params
    grader: Grader
    settings: SamplingSettings
    num_samples: int
    agreement: float
    key: jax.Array
    prompts_per_call: int
    num_failures: int = 0

    def judge(self, pairs: Sequence[QuestionAnswer]) -> list[Judgement]:
        """One judgement a pair."""
        filled = [*pairs, *[QuestionAnswer(question="", answer="")] * (-len(pairs) % self.prompts_per_call)]
        judgements: list[Judgement] = []
        for start in range(0, len(filled), self.prompts_per_call):
            part = filled[start : start + self.prompts_per_call]
            prompts = self.sampler.encode_questions([pair.question for pair in part])
            rollouts = self.sampler.sample_policy(
                self.params,
                prompts,
                key=self.key,
                settings=self.settings,
                samples_per_prompt=self.num_samples,
                first_prompt=start,
            )
            votes = self.grader.votes(self.sampler.texts(rollouts), [pair.answer for pair in part])
            judgements += [judge_by_votes(*of_one, self.agreement) for of_one in zip(*votes, strict=True)]
        return judgements[: len(pairs)]


def judge_by_votes(votes: Sequence[str | None], answer: str, agreement: float) -> Judgement:
    """Well posed when the most common vote has at least a share `agreement`; None is no vote.

    Votes and answer that are equal are written alike.
    """
    top = Counter(vote for vote in votes if vote is not None).most_common(1)
    if not top or top[0][1] < agreement * len(votes):
        return Judgement(well_posed=False, right=False)
    return Judgement(well_posed=True, right=answer == top[0][0])
