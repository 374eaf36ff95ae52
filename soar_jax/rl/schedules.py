"""Learning-rate schedules, by optax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optax

from soar_jax.config.policy_sections import PolicySection

# (rate after warm-up, steps from there to the end) -> rate of each of these steps
_AFTER_WARMUP: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda rate, _: optax.constant_schedule(rate),
    "linear": lambda rate, num_steps: optax.linear_schedule(rate, 0.0, num_steps),
    "cosine": lambda rate, num_steps: optax.cosine_decay_schedule(rate, num_steps),
}


def learning_rates(policy: PolicySection, num_steps: int, warmup_steps: int) -> tuple[float, ...]:
    """Computes the learning rate of each of a policy's own steps, by `policy.schedule`; float32 values.

    The steps are those of one policy, from its start to its end: outer steps of the teacher, student steps of an
    episode of the inner loop or of a final student. Step s of the warm-up has the share s / warmup_steps of
    `policy.learning_rate`; the first step is 0 then. The decay would reach 0 in the step after the last one. With
    `warmup_steps` >= `num_steps` the rate only rises, and the policy ends within its warm-up.
    """
    rate, steps = policy.learning_rate, np.arange(num_steps)
    schedule = _AFTER_WARMUP[policy.schedule](rate, max(1, num_steps - warmup_steps))
    if warmup_steps:
        schedule = optax.join_schedules([optax.linear_schedule(0.0, rate, warmup_steps), schedule], [warmup_steps])
    return tuple(np.broadcast_to(np.asarray(schedule(steps), np.float32), steps.shape).tolist())
