import numpy as np
import pytest

from soar_jax.errors import SettingsError
from soar_jax.soar.student_rewards import STUDENT_REWARDS, right
from tests.configs import make_config


def test_a_right_answer_is_rewarded_with_one():
    rewards = right(["= 1", "= 2"], ["1", "1"], np.array([True, False]))
    assert rewards.tolist() == [1.0, 0.0]
    assert rewards.dtype == np.float32


def test_an_unknown_student_reward_is_refused():
    message = f"student.reward is 'style'; choose one of {', '.join(STUDENT_REWARDS)}$"
    with pytest.raises(SettingsError, match=message):
        make_config(**{"student.reward": "style"})
    with pytest.raises(SettingsError, match=message):
        STUDENT_REWARDS["style"]
