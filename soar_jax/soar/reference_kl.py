"""KL divergence to the reference policy: its log-probabilities, and the part of rewards.

For `kl` "k3_in_loss" an update takes the log-probabilities. For "k1_in_reward" (Ahmadian et al., arXiv 2402.14740) the
divergence is subtracted from rewards. Those that are reported, and that decide promotions, have no such part: it enters
the advantages alone.
"""

from __future__ import annotations

import jax
import numpy as np

from soar_jax import parallel
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.rl.indicators import Indicators
from soar_jax.rl.population import policy_reference_logprobs, population_reference_logprobs
from soar_jax.soar.setup import Setup
from soar_jax.telemetry.meter import TrainedRows
from soar_jax.types import RolloutBatch


def students_reference(setup: Setup, rollouts: RolloutBatch, reference: Params) -> jax.Array | None:
    """Starts to compute the reference's log-probabilities [P, B, C] of rollouts [P, B]; None without a KL divergence.

    They are computed while the host grades the rollouts.
    """
    if not setup.config.student.has_reference:
        return None
    options = setup.student.reference_options(setup.mesh, setup.sampler.model)
    logprobs = population_reference_logprobs(rollouts, reference, setup.sampler.frozen_base, **options)
    setup.meter.watch(logprobs)
    return logprobs


def teachers_reference(setup: Setup, rollouts: RolloutBatch) -> jax.Array:
    """Computes the base model's log-probabilities [B, C] of the teacher's rollouts, which are replicated."""
    options = setup.teacher.reference_options(setup.mesh, setup.sampler.model)
    logprobs = policy_reference_logprobs(rollouts, setup.base_weights, setup.sampler.frozen_base, **options)
    setup.meter.watch(logprobs)
    return logprobs


def subtract_students_kl(
    setup: Setup, rewards: np.ndarray, rollouts: RolloutBatch, *, logprobs: jax.Array | None
) -> tuple[np.ndarray, Indicators]:
    """Subtracts `student.kl_coef` times each completion's KL divergence from its reward.

    Args:
      rewards: [P, Q, G].
      rollouts: [P, Q * G] rows.
      logprobs: those of `students_reference`.

    Returns:
      [P, Q, G], and the divergence per token `reference_kl` [P]. The rewards themselves and no divergence where the
      students' KL is not in the reward.
    """
    section = setup.config.student
    if logprobs is None or not section.kl_in_reward:
        return rewards, {}
    found = _divergences(setup, rollouts, logprobs)
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
    found = _divergences(setup, rollouts, teachers_reference(setup, rollouts))
    each = found.reshape(section.turns, len(rewards), -1).sum(axis=0)  # [g, n]
    net = rewards - section.kl_coef * (each if rewards.ndim > 1 else each.mean(axis=1))
    return net, _per_token(found, rollouts)


def _divergences(setup: Setup, rollouts: RolloutBatch, logprobs: jax.Array) -> np.ndarray:
    """KL divergence of completions [..., B] to the reference, by the k1 estimator (arXiv 2402.14740); float64.

    The sum over a completion's tokens of logp - ref_logp. `logp` is the sampler's own, so that only the reference runs.
    Its mean over samples is the KL divergence; a single one may be negative.
    """
    lengths, ours, theirs = map(processes.to_host, (rollouts.lengths, rollouts.sampler_logprobs, logprobs))
    setup.meter.add_reference(TrainedRows.of(rollouts, np.ones(lengths.shape, bool)))
    is_token = np.arange(ours.shape[-1]) < lengths[..., None]
    return np.where(is_token, ours - theirs, 0).astype(np.float64).sum(axis=-1)


def _per_token(divergences: np.ndarray, rollouts: RolloutBatch) -> Indicators:
    """Divergence per token of completions [..., B]."""
    return {"reference_kl": divergences.sum(axis=-1) / processes.to_host(rollouts.lengths).sum(axis=-1)}
