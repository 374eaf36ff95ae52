"""Group-relative advantages: rewards [..., G] of groups of G samples to advantages [..., G] float32."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from soar_jax.registry import Registry

ADVANTAGES: Registry[Callable[[jax.Array], jax.Array]] = Registry("inner.advantage")


@ADVANTAGES.register("rloo")
def rloo(rewards: jax.Array) -> jax.Array:
    """Reward minus the mean reward of the group's other samples (paper: RLOO).

    A_i = r_i - sum_{j != i} r_j / (G - 1). Not divided by the standard deviation.
    """
    size = rewards.shape[-1]
    return dr_grpo(rewards) * (size / (size - 1))


@ADVANTAGES.register("dr_grpo")
def dr_grpo(rewards: jax.Array) -> jax.Array:
    """Reward minus the group's mean, A_i = r_i - mean(r) (Dr. GRPO, arXiv 2503.20783).

    Equal rewards give exactly zero.
    """
    # The mean of equal numbers may be rounded; the mean of zeros is not.
    rewards = jnp.asarray(rewards, jnp.float32)
    shifted = rewards - rewards[..., :1]
    return shifted - shifted.mean(axis=-1, keepdims=True)


@ADVANTAGES.register("grpo")
def grpo(rewards: jax.Array, eps: float = 1e-4) -> jax.Array:
    """The advantage of GRPO alone, A_i = (r_i - mean(r)) / (std(r) + eps) (arXiv 2402.03300).

    The rest of GRPO is set elsewhere: its clipped ratio by `clip_ratio`, its KL term by `kl` and `kl_coef`. Its mean
    over a completion's tokens is left out: the loss sums them, see `losses.policy_gradient_loss`.
    """
    centred = dr_grpo(rewards)
    return centred / (jnp.sqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True)) + eps)
