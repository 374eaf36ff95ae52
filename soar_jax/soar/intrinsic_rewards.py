"""Teacher rewards from the answers of a fixed solver: no student is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soar_jax.model.parameters import Params
from soar_jax.rng import stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.setup import Setup
from soar_jax.soar.teacher import Datasets
from soar_jax.soar.teacher_rewards import TEACHER_REWARDS, Votes, count_votes
from soar_jax.types import QuestionAnswer


def solve(setup: Setup, policy: Params, items: Sequence[QuestionAnswer], step: int) -> Votes:
    """Samples `teacher.solver_samples` answers to each question, and counts their votes."""
    prompts = setup.sampler.encode_questions([item.question for item in items])
    draw = Draw(
        key=stream_key(setup.config.seed, "solver_sample", step),
        settings=setup.student.sampling,
        num_samples=setup.config.teacher.solver_samples,
    )
    rollouts = setup.sampler.sample(policy, prompts, draw)
    return count_votes(*setup.grader.votes(setup.sampler.texts(rollouts), [item.answer for item in items]))


def question_rewards(setup: Setup, policy: Params, datasets: Datasets, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes the reward `teacher.reward` of each question, with `policy` as the solver.

    Returns:
      Rewards [g, n], zero where malformed, and agreement with the teacher's answer [g, n], NaN where malformed.
    """
    empty = QuestionAnswer(question="", answer="")  # keeps the row of a malformed rollout, for one compiled shape
    items = [item or empty for dataset in datasets.items for item in dataset]
    votes = solve(setup, policy, items, step)
    reward = TEACHER_REWARDS[setup.config.teacher.reward].of_questions
    assert reward is not None
    values = reward(votes, [item.question for item in items])
    valid, shape = datasets.is_valid.ravel(), datasets.is_valid.shape
    return np.where(valid, values, 0.0).reshape(shape), np.where(valid, votes.agreement, np.nan).reshape(shape)
