from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.grading.grader import Grader
from soar_jax.soar.intrinsic_rewards import question_rewards
from soar_jax.soar.teacher import Datasets
from soar_jax.soar.teacher_rewards import TEACHER_REWARDS
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

ANSWERS = {
    "one two three four five six": ["= 1", "= 2", "= 1", "= 3"],
    "a b c d e f": ["= 5", "= 5", "= 5", "= 4"],
    "": ["= 7", "= 7", "= 8", "= 8"],
}


def make_setup(reward):
    """The parts of a setup that vote, with a sampler whose answers are known."""

    def sample(policy, prompts, draw):
        assert (policy, draw.num_samples) == ("solver", 4)
        return prompts

    sampler = SimpleNamespace(
        encode_questions=list,
        sample=sample,
        texts=lambda questions: [text for question in questions for text in ANSWERS[question]],
    )
    return SimpleNamespace(
        config=make_config("intrinsic_teacher", **{"teacher.reward": reward, "teacher.solver_samples": 4}),
        sampler=sampler,
        grader=Grader(extraction=("after_equals",)),
        student=SimpleNamespace(sampling=None),
    )


# Shares that agree: 1/4, 3/4 and none; of the majority: 1/2, 3/4 and 1/2. Two of three questions are alike.
REWARDS = {
    "triangle": [[0.5, 0.0], [0.5, 0.0]],
    "absolute_zero": [[0.75, 0.0], [0.25, 0.0]],
    "r_zero": [[0.5 - 2 / 3, 0.0], [0.25 - 1 / 3, 0.5 - 2 / 3]],
}


def test_every_reward_of_questions_is_tested():
    assert REWARDS.keys() == TEACHER_REWARDS.keys() - {"grounded"}


@pytest.mark.parametrize("kind", REWARDS)
def test_parsable_questions_are_rewarded_by_the_config(kind):
    one, other = list(ANSWERS)[:2]
    items = (
        (QuestionAnswer(question=one, answer="2"), None),
        (QuestionAnswer(question=other, answer="5"), QuestionAnswer(question=one, answer="6")),
    )
    values, agreement = question_rewards(make_setup(kind), "solver", Datasets(rollouts=None, items=items), step=0)
    np.testing.assert_allclose(values, REWARDS[kind])
    np.testing.assert_array_equal(agreement, [[0.25, np.nan], [0.75, 0.0]])


@pytest.mark.parametrize("kind", REWARDS)
def test_without_parsable_questions_rewards_are_zero(kind):
    datasets = Datasets(rollouts=None, items=((None,), (None,)))
    values, agreement = question_rewards(make_setup(kind), "solver", datasets, step=0)
    assert values.tolist() == [[0.0], [0.0]]
    assert np.isnan(agreement).all()
