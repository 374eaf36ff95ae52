"""KL to the reference policy as a part of rewards, for `kl` "k1_in_reward" (Ahmadian et al., arXiv 2402.14740).

Rewards that are reported, and those that decide promotions, have no such part: it enters the advantages alone.
"""

from __future__ import annotations

import jax
import numpy as np

from soar_jax import parallel
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.rl.indicators import Indicators
from soar_jax.rl.population import policy_kl, population_kl
from soar_jax.soar.setup import Setup
from soar_jax.telemetry.meter import TrainedRows
from soar_jax.types import RolloutBatch


def subtract_students_kl(
    setup: Setup, rewards: np.ndarray, rollouts: RolloutBatch, *, reference: Params
) -> tuple[np.ndarray, Indicators]:
    """Subtracts `student.kl_coef` times each completion's KL divergence from its reward.

    Args:
      rewards: [P, Q, G].
      rollouts: [P, Q * G] rows.

    Returns:
      [P, Q, G], and the divergence per token `reference_kl` [P]. The rewards themselves and no divergence where the
      students' KL is not in the reward.
    """
    section = setup.config.student
    if not section.kl_in_reward:
        return rewards, {}
    options = setup.student.kl_options(setup.mesh, setup.sampler.model)
    divergence = population_kl(rollouts, reference, setup.sampler.frozen_base, **options)
    found = _to_host(setup, divergence, rollouts)
    return rewards - section.kl_coef * found.reshape(rewards.shape), _per_token(found, rollouts)


def subtract_teachers_kl(setup: Setup, rewards: np.ndarray, rollouts: RolloutBatch) -> tuple[np.ndarray, Indicators]:
    """Subtracts `teacher.kl_coef` times the KL divergence of the teacher's rollouts to the base model.

    The n rollouts of a dataset share one reward, so that it is reduced by their mean.

    Args:
      rewards: [g] of datasets, or [g, n] of rollouts.
      rollouts: g * n rows for each turn; the divergence of a pair is the sum over its turns.

    Returns:
      The shape of `rewards`, and the divergence per token `reference_kl` []. The rewards themselves and no divergence
      where the teacher's KL is not in the reward, or it does not learn.
    """
    section = setup.config.teacher
    if not section.kl_in_reward or not section.train:
        return rewards, {}
    rollouts = parallel.replicate(setup.mesh, rollouts)
    options = setup.teacher.kl_options(setup.mesh, setup.sampler.model)
    divergence = policy_kl(rollouts, setup.base_weights, setup.sampler.frozen_base, **options)
    found = _to_host(setup, divergence, rollouts)
    each = found.reshape(section.turns, len(rewards), -1).sum(axis=0)  # [g, n]
    net = rewards - section.kl_coef * (each if rewards.ndim > 1 else each.mean(axis=1))
    return net, _per_token(found, rollouts)


def _per_token(divergences: np.ndarray, rollouts: RolloutBatch) -> Indicators:
    """Divergence per token of completions [..., B]."""
    return {"reference_kl": divergences.sum(axis=-1) / processes.to_host(rollouts.lengths).sum(axis=-1)}


def _to_host(setup: Setup, divergence: jax.Array, rollouts: RolloutBatch) -> np.ndarray:
    """Meters the reference's forward pass, and returns its result as float64."""
    setup.meter.watch(divergence)
    setup.meter.add_reference(TrainedRows.of(rollouts, np.ones(rollouts.lengths.shape, bool)))
    return np.asarray(processes.to_host(divergence), np.float64)
