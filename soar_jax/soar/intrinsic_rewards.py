"""Teacher rewards that look at the questions alone, without measuring what students learn from them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from soar_jax.evaluation.diversity import repetition_penalties
from soar_jax.model.parameters import Params
from soar_jax.rng import stream_key
from soar_jax.runs.build import Setup
from soar_jax.soar import rewards
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Votes:
    """How a solver's answers to each of N questions fall out."""

    agreement: np.ndarray  # [N] share of all answers that equal the teacher's
    majority: np.ndarray  # [N] share of the most common answer
    majority_answers: tuple[str | None, ...]  # [N]; None where no answer could be read


def count_votes(answers: Sequence[Sequence[str | None]], references: Sequence[str]) -> Votes:
    """Votes of N lists of answers; an answer that could not be read (None) is no vote."""
    tops = [Counter(filter(None, group)).most_common(1) for group in answers]
    sizes = np.array([len(group) for group in answers])
    equal = [sum(answer == reference for answer in group) for group, reference in zip(answers, references, strict=True)]
    return Votes(
        agreement=np.array(equal) / sizes,
        majority=np.array([top[0][1] if top else 0 for top in tops]) / sizes,
        majority_answers=tuple(top[0][0] if top else None for top in tops),
    )


def solve(setup: Setup, policy: Params, items: Sequence[QuestionAnswer], stream: str, index: int) -> Votes:
    """Asks one policy each question `teacher.solver_samples` times."""
    samples = setup.config.teacher.solver_samples
    prompts = setup.sampler.encode_questions([item.question for item in items])
    key = stream_key(setup.config.seed, stream, index)
    rollouts = setup.sampler.sample_policy(
        policy, prompts, key=key, settings=setup.student.sampling, samples_per_prompt=samples
    )
    return count_votes(*setup.grader.votes(setup.sampler.texts(rollouts), [item.answer for item in items]))


def question_rewards(setup: Setup, policy: Params, datasets: Datasets, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Each question's own reward, by `teacher.reward`, from the answers of a fixed solver.

    Returns:
      Rewards [g, n], zero where unparsable, and agreement with the teacher's answer [g, n], nan there.
    """
    nothing = QuestionAnswer(
        question="", answer=""
    )  # unparsable rollouts keep their place, so that one shape is compiled
    items = [item or nothing for dataset in datasets.items for item in dataset]
    valid = datasets.is_valid.ravel()
    votes = solve(setup, policy, items=items, stream="solver_sample", index=step)
    kind = setup.config.teacher.reward
    if kind == "learnability":
        values = rewards.learnability(votes.agreement)
    elif kind == "absolute_zero":
        values = rewards.absolute_zero(votes.agreement)
    else:
        penalties = np.zeros(len(items))
        penalties[valid] = repetition_penalties([item.question for item, ok in zip(items, valid, strict=True) if ok])
        values = rewards.r_zero(votes.majority, penalties)
    shape = datasets.is_valid.shape
    return np.where(valid, values, 0.0).reshape(shape), np.where(valid, votes.agreement, np.nan).reshape(shape)
