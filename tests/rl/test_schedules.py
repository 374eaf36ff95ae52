import numpy as np
import optax
import pytest

from soar_jax.config.policy_sections import StudentSection
from soar_jax.rl.schedules import learning_rates


def rates(schedule, num_steps, warmup_steps, learning_rate=3e-4):
    policy = StudentSection(learning_rate=learning_rate, schedule=schedule)
    return learning_rates(policy, num_steps, warmup_steps)


def expected(schedule, num_steps):
    return [float(schedule(step)) for step in range(num_steps)]


@pytest.mark.parametrize("warmup_steps", [1, 4, 19])
def test_cosine_equals_optax(warmup_steps):
    schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-4, warmup_steps, decay_steps=20)
    np.testing.assert_allclose(rates("cosine", 20, warmup_steps), expected(schedule, 20), rtol=1e-5)


@pytest.mark.parametrize("warmup_steps", [1, 4, 19])
def test_linear_equals_optax(warmup_steps):
    rise, fall = optax.linear_schedule(0.0, 3e-4, warmup_steps), optax.linear_schedule(3e-4, 0.0, 20 - warmup_steps)
    schedule = optax.join_schedules([rise, fall], [warmup_steps])
    np.testing.assert_allclose(rates("linear", 20, warmup_steps), expected(schedule, 20), rtol=1e-5)


def test_constant_equals_optax():
    schedule = optax.warmup_constant_schedule(0.0, 3e-4, 4)
    np.testing.assert_allclose(rates("constant", 20, 4), expected(schedule, 20), rtol=1e-5)


def test_without_warmup_the_first_step_has_the_whole_rate():
    assert rates("constant", 3, 0) == (np.float32(3e-4),) * 3
    np.testing.assert_allclose(rates("linear", 4, 0, learning_rate=1.0), (1, 0.75, 0.5, 0.25))
    np.testing.assert_allclose(rates("cosine", 4, 0, learning_rate=1.0), (1, 0.853553, 0.5, 0.146447), rtol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_rates_rise_linearly_and_never_end_at_zero(schedule):
    found = rates(schedule, 8, 4, learning_rate=1.0)
    np.testing.assert_allclose(found[:5], (0, 0.25, 0.5, 0.75, 1))
    assert min(found[1:]) > 0


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup_steps", [4, 5, 8])
def test_a_warmup_that_is_not_shorter_than_the_run_only_rises(schedule, warmup_steps):
    np.testing.assert_allclose(
        rates(schedule, 4, warmup_steps, learning_rate=1.0), np.arange(4) / warmup_steps, rtol=1e-6
    )


def test_values_are_float32_and_one_for_each_step():
    found = rates("cosine", 7, 2)
    assert len(found) == 7
    assert all(isinstance(rate, float) and rate == float(np.float32(rate)) for rate in found)
    assert rates("cosine", 0, 2) == ()
