import numpy as np

from soar_jax.soar import rewards
from soar_jax.soar.rewards import dataset_rewards, rollout_advantages


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


def test_question_advantages_compare_each_valid_question_with_the_others():
    values = np.array([[1.0, 0.0], [0.5, 9.0]])
    is_valid = np.array([[True, True], [True, False]])
    advantages = rewards.question_advantages(values, is_valid, invalid_penalty=2.0)
    np.testing.assert_allclose(advantages, [[1.0 - 0.25, 0.0 - 0.75], [0.5 - 0.5, -2.0 * 0.75]])
    assert not rewards.question_advantages(values, np.array([[True, False], [False, False]]), 1.0).any()


def test_intrinsic_rewards_by_hand():
    p = np.array([0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(rewards.learnability(p), [0.0, 0.5, 1.0, 0.0])
    np.testing.assert_allclose(rewards.absolute_zero(p), [0.0, 0.75, 0.5, 0.0])
    np.testing.assert_allclose(rewards.r_zero(p, np.array([0.0, 0.25, 0.0, 0.5])), [0.0, 0.0, 0.5, -0.5])
