import re
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.errors import SettingsError
from soar_jax.grading.grader import Grader
from soar_jax.soar import teacher_rewards
from soar_jax.soar.teacher import Datasets
from soar_jax.soar.teacher_rewards import (
    TEACHER_REWARDS,
    Votes,
    count_votes,
    dataset_rewards,
    question_advantages,
    rewards_by_votes,
    rollout_advantages,
)
from soar_jax.types import QuestionAnswer
from tests.configs import make_config


def test_reward_is_mean_improvement_over_the_baseline():
    accuracy = np.array([[0.5, 0.3], [0.1, 0.1]])  # g = 2, r = 2
    np.testing.assert_allclose(dataset_rewards(accuracy, 0.2), [0.2, -0.1])


def test_students_who_did_not_move_have_exactly_no_reward():
    for accuracy in (0.1, 0.7, 0.29):
        assert dataset_rewards(np.full((2, 3), accuracy), accuracy).tolist() == [0.0, 0.0]


def test_every_rollout_gets_its_datasets_advantage():
    # rewards 0.3, 0.0, 0.0: advantages 0.3 - 0, 0 - 0.15, 0 - 0.15
    valid = np.ones((3, 2), bool)
    result = rollout_advantages(np.array([0.3, 0.0, 0.0]), valid, invalid_penalty=1.0)
    np.testing.assert_allclose(result, [[0.3, 0.3], [-0.15, -0.15], [-0.15, -0.15]], rtol=1e-6)


def test_unparsable_rollouts_get_the_penalty():
    valid = np.array([[True, False], [True, True]])
    result = rollout_advantages(np.array([0.1, 0.0]), valid, invalid_penalty=2.0)
    np.testing.assert_allclose(result, [[0.1, -0.2], [-0.1, -0.1]], rtol=1e-6)


def test_no_improvement_no_signal():
    valid = np.array([[True, False], [True, True]])
    np.testing.assert_array_equal(rollout_advantages(np.zeros(2), valid, 1.0), np.zeros((2, 2)))


def test_question_advantages_compare_valid_questions():
    values = np.array([[1.0, 0.0], [0.5, 9.0]])
    is_valid = np.array([[True, True], [True, False]])
    advantages = question_advantages(values, is_valid, invalid_penalty=2.0)
    np.testing.assert_allclose(advantages, [[1.0 - 0.25, 0.0 - 0.75], [0.5 - 0.5, -2.0 * 0.75]])
    assert not question_advantages(values, np.array([[True, False], [False, False]]), 1.0).any()


def test_question_rewards_by_hand():
    p = np.array([0.0, 0.25, 0.5, 1.0])
    votes = Votes(agreement=p, majority=p, majority_answers=("1",) * 4)
    questions = ["one two three four", "a b c d", "", "a b c d"]  # two alike of the three that were written
    np.testing.assert_allclose(teacher_rewards.triangle(votes, questions), [0.0, 0.5, 1.0, 0.0])
    np.testing.assert_allclose(teacher_rewards.absolute_zero(votes, questions), [0.0, 0.75, 0.5, 0.0])
    np.testing.assert_allclose(
        teacher_rewards.r_zero(votes, questions), [-1 / 3, 0.25 - 2 / 3, 0.5, -2 / 3], err_msg="min(p, 1 - p) - penalty"
    )


def test_votes_by_hand():
    answers = [["4", "4", "5", None], [None, None, None, None], ["7", "7", "7", "7"]]
    votes = count_votes(answers, ["5", "1", "7"])
    assert votes.agreement.tolist() == [0.25, 0.0, 1.0]
    assert votes.majority.tolist() == [0.5, 0.0, 1.0]
    assert votes.majority_answers == ("4", None, "7")


def test_the_grounded_reward_alone_trains_students():
    assert [name for name, reward in TEACHER_REWARDS.items() if reward.trains_students] == ["grounded"]
    assert all(reward.of_questions for name, reward in TEACHER_REWARDS.items() if name != "grounded")


def test_an_unknown_teacher_reward_is_refused():
    message = re.escape(f"teacher.reward is 'novelty'; choose one of {', '.join(TEACHER_REWARDS)}") + "$"
    with pytest.raises(SettingsError, match=message):
        make_config(**{"teacher.reward": "novelty"})
    with pytest.raises(SettingsError, match=message):
        TEACHER_REWARDS["novelty"]


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
    values, agreement = rewards_by_votes(make_setup(kind), "solver", Datasets(rollouts=None, items=items), step=0)
    np.testing.assert_allclose(values, REWARDS[kind])
    np.testing.assert_array_equal(agreement, [[0.25, np.nan], [0.75, 0.0]])


@pytest.mark.parametrize("kind", REWARDS)
def test_without_parsable_questions_rewards_are_zero(kind):
    datasets = Datasets(rollouts=None, items=((None,), (None,)))
    values, agreement = rewards_by_votes(make_setup(kind), "solver", datasets, step=0)
    assert values.tolist() == [[0.0], [0.0]]
    assert np.isnan(agreement).all()
