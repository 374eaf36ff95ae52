"""Group-relative advantages: rewards [..., G] of groups of G samples to advantages [..., G] float32.

In NumPy: rewards come from the host, and a few numbers are not worth a program on the devices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from soar_jax.registry import Registry

ADVANTAGES: Registry[Callable[[np.ndarray], np.ndarray]] = Registry("inner.advantage")


@ADVANTAGES.register("rloo")
def rloo(rewards: np.ndarray) -> np.ndarray:
    """Reward minus the mean reward of the group's other samples (paper: RLOO).

    A_i = r_i - sum_{j != i} r_j / (G - 1). Not divided by the standard deviation.
    """
    size = rewards.shape[-1]
    return dr_grpo(rewards) * (size / (size - 1))


@ADVANTAGES.register("dr_grpo")
def dr_grpo(rewards: np.ndarray) -> np.ndarray:
    """Reward minus the group's mean, A_i = r_i - mean(r) (Dr. GRPO, arXiv 2503.20783).

    Equal rewards give exactly zero.
    """
    # The mean of equal numbers may be rounded; the mean of zeros is not.
    rewards = np.asarray(rewards, np.float32)
    shifted = rewards - rewards[..., :1]
    return shifted - shifted.mean(axis=-1, keepdims=True)


@ADVANTAGES.register("grpo")
def grpo(rewards: np.ndarray, eps: float = 1e-4) -> np.ndarray:
    """The advantage of GRPO alone, A_i = (r_i - mean(r)) / (std(r) + eps) (arXiv 2402.03300).

    The rest of GRPO is set elsewhere: its clipped ratio by `clip_ratio`, its KL term by `kl` and `kl_coef`. Its mean
    over a completion's tokens is left out: the loss sums them, see `losses.policy_gradient_loss`.
    """
    centred = dr_grpo(rewards)
    return centred / (np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True)) + eps)
