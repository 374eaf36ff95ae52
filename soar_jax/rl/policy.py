"""Compiled settings of one kind of policy, teacher or student."""

from __future__ import annotations

import dataclasses

from soar_jax.config.policy_sections import PolicySection
from soar_jax.rl.losses import LossSettings
from soar_jax.rl.train_step import OptimizerSettings
from soar_jax.sampling.sampler import SamplingSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """How one kind of policy (teacher or student) samples and learns: the static arguments of compiled programs."""

    sampling: SamplingSettings
    loss: LossSettings
    optimizer: OptimizerSettings
    rows_per_micro_batch: int
    updates_per_batch: int


def policy_settings(section: PolicySection, sampling: SamplingSettings) -> PolicySettings:
    """The settings of a config section."""
    return PolicySettings(
        sampling=sampling,
        loss=LossSettings(
            temperature=section.temperature,
            clip_ratio=section.clip_ratio,
            kl_coef=section.kl_coef if section.kl_in_loss else 0.0,
            chunk_tokens=section.logprob_chunk_tokens,
            remat=section.remat,
            bucket_tokens=section.bucket_tokens,
        ),
        optimizer=OptimizerSettings(
            b1=section.adam_b1,
            b2=section.adam_b2,
            eps=section.adam_eps,
            weight_decay=section.weight_decay,
            max_grad_norm=section.max_grad_norm,
        ),
        rows_per_micro_batch=section.rows_per_micro_batch,
        updates_per_batch=section.updates_per_batch,
    )
