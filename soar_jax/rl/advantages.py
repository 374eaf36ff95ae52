"""Advantages of sampled completions within their group.

All take rewards [..., G] of groups of G and return advantages of the same shape, float32.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def rloo(rewards: jax.Array) -> jax.Array:
    """Reward minus the mean reward of the other samples of the group (paper: RLOO).

    A_i = r_i - sum_{j != i} r_j / (G - 1). Not divided by the standard deviation.
    """
    rewards = jnp.asarray(rewards, jnp.float32)
    size = rewards.shape[-1]
    return (rewards - rewards.mean(axis=-1, keepdims=True)) * (size / (size - 1))


def dr_grpo(rewards: jax.Array) -> jax.Array:
    """Reward minus the group's mean, A_i = r_i - mean(r) (Dr. GRPO, arXiv 2503.20783)."""
    rewards = jnp.asarray(rewards, jnp.float32)
    return rewards - rewards.mean(axis=-1, keepdims=True)


def grpo(rewards: jax.Array, eps: float = 1e-4) -> jax.Array:
    """A_i = (r_i - mean(r)) / (std(r) + eps) (GRPO, arXiv 2402.03300)."""
    centred = dr_grpo(rewards)
    return centred / (jnp.std(jnp.asarray(rewards, jnp.float32), axis=-1, keepdims=True) + eps)


ADVANTAGES: dict[str, Callable[[jax.Array], jax.Array]] = {"rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo}
