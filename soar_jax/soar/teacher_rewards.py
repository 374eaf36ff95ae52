"""Teacher rewards, chosen by `teacher.reward`, and their advantages.

The grounded reward is the students' improvement (Algorithm 1, step 5; its advantages: step 7). The others are
functions of the answers that a fixed solver samples for each question:

    @question_reward("hardest")
    def hardest(votes, questions):
        return 1.0 - votes.agreement
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from soar_jax.evaluation.diversity import repetition_penalties
from soar_jax.model.parameters import Params
from soar_jax.registry import Registry
from soar_jax.rng import stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.setup import Setup
from soar_jax.soar.teacher import Datasets
from soar_jax.types import PromptBatch, QuestionAnswer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Votes:
    """Statistics of a solver's answers to each of N questions."""

    agreement: np.ndarray  # [N] fraction of answers that equal the teacher's
    majority: np.ndarray  # [N] fraction of answers that equal the most common one
    majority_answers: tuple[str | None, ...]  # [N]; None where no answer could be extracted


QuestionReward = Callable[[Votes, Sequence[str]], np.ndarray]  # (votes, texts of N questions) -> [N] float64


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherReward:
    """A source of rewards: students that are trained, or a function of each question's votes."""

    trains_students: bool
    of_questions: QuestionReward | None  # None for the grounded reward


TEACHER_REWARDS: Registry[TeacherReward] = Registry("teacher.reward")
TEACHER_REWARDS.register("grounded")(TeacherReward(trains_students=True, of_questions=None))


def question_reward(name: str) -> Callable[[QuestionReward], QuestionReward]:
    """Decorator that registers a reward computed from votes, without training students."""

    def add(function: QuestionReward) -> QuestionReward:
        TEACHER_REWARDS.register(name)(TeacherReward(trains_students=False, of_questions=function))
        return function

    return add


@question_reward("triangle")
def triangle(votes: Votes, questions: Sequence[str]) -> np.ndarray:
    """1 - |2p - 1|, where p is the fraction of answers that equal the teacher's."""
    return 1.0 - np.abs(2.0 * votes.agreement - 1.0)


@question_reward("r_zero")
def r_zero(votes: Votes, questions: Sequence[str]) -> np.ndarray:
    """min(p, 1 - p) - repetition penalty, where p is the fraction of the majority answer (R-Zero, arXiv 2508.05004)."""
    is_written = np.array([bool(question) for question in questions])
    penalties = np.zeros(len(questions))
    penalties[is_written] = repetition_penalties([question for question in questions if question])
    return np.minimum(votes.majority, 1.0 - votes.majority) - penalties


@question_reward("absolute_zero")
def absolute_zero(votes: Votes, questions: Sequence[str]) -> np.ndarray:
    """1 - p where p > 0, else 0, p as in `triangle` (Absolute Zero, arXiv 2505.03335; paper: learnability, B.4)."""
    return np.where(votes.agreement > 0, 1.0 - votes.agreement, 0.0)


def count_votes(answers: Sequence[Sequence[str | None]], references: Sequence[str]) -> Votes:
    """Counts the votes of N lists of answers; None, an answer that could not be extracted, is no vote."""
    tops = [Counter(filter(None, group)).most_common(1) for group in answers]
    sizes = np.array([len(group) for group in answers])
    equal = [sum(answer == reference for answer in group) for group, reference in zip(answers, references, strict=True)]
    return Votes(
        agreement=np.array(equal) / sizes,
        majority=np.array([top[0][1] if top else 0 for top in tops]) / sizes,
        majority_answers=tuple(top[0][0] if top else None for top in tops),
    )


def sample_votes(setup: Setup, policy: Params, prompts: PromptBatch, *, draw: Draw, references: Sequence[str]) -> Votes:
    """Samples answers to prompts, of one policy or of a population, and counts the votes of each question."""
    rollouts = setup.sampler.sample(policy, prompts, draw)
    return count_votes(*setup.grader.votes(setup.sampler.texts(rollouts), references))


def solve(setup: Setup, policy: Params, items: Sequence[QuestionAnswer], *, step: int) -> Votes:
    """Samples `teacher.solver_samples` answers to each question, and counts their votes."""
    draw = Draw(
        key=stream_key(setup.config.seed, "solver_sample", step),
        settings=setup.student.sampling,
        num_samples=setup.config.teacher.solver_samples,
    )
    prompts = setup.sampler.encode_questions([item.question for item in items])
    return sample_votes(setup, policy, prompts, draw=draw, references=[item.answer for item in items])


def rewards_by_votes(setup: Setup, policy: Params, datasets: Datasets, *, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes the reward `teacher.reward` of each question, with `policy` as the solver.

    Returns:
      Rewards [g, n], zero where malformed, and agreement with the teacher's answer [g, n], NaN where malformed.
    """
    empty = QuestionAnswer(question="", answer="")  # keeps the row of a malformed rollout, for one compiled shape
    items = [item or empty for dataset in datasets.items for item in dataset]
    votes = solve(setup, policy, items, step=step)
    reward = TEACHER_REWARDS[setup.config.teacher.reward].of_questions
    assert reward is not None
    values = reward(votes, [item.question for item in items])
    valid, shape = datasets.is_valid.ravel(), datasets.is_valid.shape
    return np.where(valid, values, 0.0).reshape(shape), np.where(valid, votes.agreement, np.nan).reshape(shape)


def dataset_rewards(student_accuracy: np.ndarray, baseline_accuracy: float) -> np.ndarray:
    """Computes R_k, the mean over r students of accuracy - baseline accuracy (Algorithm 1, step 5).

    Args:
      student_accuracy: [g, r] fraction of right answers to the reward questions.
      baseline_accuracy: the baseline student's on the same questions.

    Returns:
      [g] float64.
    """
    # Subtract before averaging, so that students as good as the baseline get exactly zero for every r.
    return (np.asarray(student_accuracy, np.float64) - baseline_accuracy).mean(axis=1)


def rollout_advantages(rewards: np.ndarray, is_valid: np.ndarray, invalid_penalty: float) -> np.ndarray:
    """Computes RLOO advantages of the g dataset rewards, one for all rollouts of a dataset (Algorithm 1, step 7).

    A_k = R_k - mean of the other g - 1 rewards. Rejection sampling needs no correction (paper, Proposition 1).

    Departure of `teacher.malformed` "penalise": a malformed rollout keeps its place and gets
    -invalid_penalty * max_k |A_k|.

    Args:
      rewards: [g].
      is_valid: [g, n] bool, whether rollouts are well formed.
      invalid_penalty: 0 or more, in units of the largest advantage.

    Returns:
      [g, n] float32.
    """
    advantages = _rloo(rewards)
    penalty = -invalid_penalty * np.abs(advantages).max()
    return np.where(is_valid, advantages[:, None], penalty).astype(np.float32)


def question_advantages(rewards: np.ndarray, is_valid: np.ndarray, invalid_penalty: float) -> np.ndarray:
    """Computes RLOO advantages over all valid questions, each with its own reward.

    A_i = R_i - mean of the other valid questions' rewards; malformed rollouts as in `rollout_advantages`.

    Args:
      rewards: [g, n]; ignored where not valid.
      is_valid: [g, n] bool.

    Returns:
      [g, n] float32; zeros if fewer than two are valid.
    """
    if is_valid.sum() < 2:
        return np.zeros(rewards.shape, np.float32)
    advantages = _rloo(rewards[is_valid])
    result = np.full(rewards.shape, -invalid_penalty * np.abs(advantages).max())
    result[is_valid] = advantages
    return result.astype(np.float32)


def _rloo(rewards: np.ndarray) -> np.ndarray:
    """As `rl.advantages.rloo`, but in float64 and for a single reward too, whose advantage is zero."""
    shifted = rewards - rewards[0]
    return (shifted - shifted.mean()) * len(rewards) / max(1, len(rewards) - 1)
