from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from soar_jax.grading.grader import Grader
from soar_jax.soar.intrinsic_rewards import count_votes, question_rewards
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer


def test_votes_by_hand():
    answers = [["4", "4", "5", None], [None, None, None, None], ["7", "7", "7", "7"]]
    votes = count_votes(answers, ["5", "1", "7"])
    assert votes.agreement.tolist() == [0.25, 0.0, 1.0]
    assert votes.majority.tolist() == [0.5, 0.0, 1.0]
    assert votes.majority_answers == ("4", None, "7")


ANSWERS = {
    "one two three four five six": ["= 1", "= 2", "= 1", "= 3"],
    "a b c d e f": ["= 5", "= 5", "= 5", "= 4"],
    "": ["= 7", "= 7", "= 8", "= 8"],
}


@pytest.fixture
def setup():
    def sample(policy, prompts, key, settings, samples):
        assert (policy, samples) == ("solver", 4)
        return prompts

    sampler = SimpleNamespace(
        encode_questions=list,
        sample_policy=sample,
        texts=lambda questions: [text for question in questions for text in ANSWERS[question]],
    )
    config = ml_collections.ConfigDict({"seed": 0, "teacher": {"solver_samples": 4, "reward": ""}})
    student = SimpleNamespace(sampling=None)
    return SimpleNamespace(config=config, sampler=sampler, grader=Grader(extraction=("after_equals",)), student=student)


# Shares that agree: 1/4, 3/4 and none; of the majority: 1/2, 3/4 and 1/2. Two of three questions are alike.
REWARDS = {
    "learnability": [[0.5, 0.0], [0.5, 0.0]],
    "absolute_zero": [[0.75, 0.0], [0.25, 0.0]],
    "r_zero": [[0.5 - 2 / 3, 0.0], [0.25 - 1 / 3, 0.5 - 2 / 3]],
}


@pytest.mark.parametrize("kind", REWARDS)
def test_each_question_is_rewarded_as_the_config_says_and_an_unparsable_one_is_not(setup, kind):
    setup.config.teacher.reward = kind
    one, other = list(ANSWERS)[:2]
    items = (
        (QuestionAnswer(question=one, answer="2"), None),
        (QuestionAnswer(question=other, answer="5"), QuestionAnswer(question=one, answer="6")),
    )
    values, agreement = question_rewards(setup, "solver", datasets=Datasets(rollouts=None, items=items), step=0)
    np.testing.assert_allclose(values, REWARDS[kind])
    np.testing.assert_array_equal(agreement, [[0.25, np.nan], [0.75, 0.0]])


@pytest.mark.parametrize("kind", REWARDS)
def test_a_teacher_that_writes_nothing_parsable_has_rewards_of_zero(setup, kind):
    setup.config.teacher.reward = kind
    values, agreement = question_rewards(
        setup, "solver", datasets=Datasets(rollouts=None, items=((None,), (None,))), step=0
    )
    assert values.tolist() == [[0.0], [0.0]]
    assert np.isnan(agreement).all()
