import numpy as np
import pytest

from soar_jax.rl import advantages


def test_rloo_is_reward_minus_mean_of_the_others():
    # first row: 1 - (0+0+1)/3, 0 - (1+0+1)/3, 0 - 2/3, 1 - 1/3; second row: no signal
    result = advantages.rloo(np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]))
    np.testing.assert_allclose(result, [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [0, 0, 0, 0]], atol=1e-7)


def test_dr_grpo_is_reward_minus_mean():
    np.testing.assert_allclose(advantages.dr_grpo(np.array([3.0, 1.0, 2.0])), [1.0, -1.0, 0.0])


def test_grpo_divides_by_the_standard_deviation():
    # mean 0.5, population standard deviation 0.5
    np.testing.assert_allclose(advantages.grpo(np.array([1.0, 0.0]), eps=0.0), [1.0, -1.0])


@pytest.mark.parametrize("name", sorted(advantages.ADVANTAGES))
def test_equal_rewards_give_no_signal(name):
    """Exactly none, whatever the size of the group; a mean of equal numbers is rounded in many."""
    for size in range(2, 129):
        for reward in (0.1, 0.3, 1 / 3, 119.7):
            result = advantages.ADVANTAGES[name](np.full((2, size), reward, np.float32))
            np.testing.assert_array_equal(result, np.zeros((2, size)), err_msg=f"{size} rewards of {reward}")
