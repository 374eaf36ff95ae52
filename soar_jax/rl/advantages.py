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
    rewards = jnp.asarray(rewards, jnp.float32)
    size = rewards.shape[-1]
    return (rewards - rewards.mean(axis=-1, keepdims=True)) * (size / (size - 1))


@ADVANTAGES.register("dr_grpo")
def dr_grpo(rewards: jax.Array) -> jax.Array:
    """Reward minus the group's mean, A_i = r_i - mean(r) (Dr. GRPO, arXiv 2503.20783)."""
    rewards = jnp.asarray(rewards, jnp.float32)
    return rewards - rewards.mean(axis=-1, keepdims=True)


@ADVANTAGES.register("grpo")
def grpo(rewards: jax.Array, eps: float = 1e-4) -> jax.Array:
    """A_i = (r_i - mean(r)) / (std(r) + eps) (GRPO, arXiv 2402.03300)."""
    centred = dr_grpo(rewards)
    return centred / (jnp.std(jnp.asarray(rewards, jnp.float32), axis=-1, keepdims=True) + eps)
