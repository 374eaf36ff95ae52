"""How one kind of policy, teacher or student, samples and learns: read off a config's section."""

from __future__ import annotations

import dataclasses
from typing import Any

from soar_jax.model.decoder import REMAT_POLICIES
from soar_jax.rl.losses import LossSettings
from soar_jax.rl.train_step import OptimizerSettings
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.settings import check_choice


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """How one kind of policy (teacher or student) samples and learns."""

    sampling: SamplingSettings
    loss: LossSettings
    optimizer: OptimizerSettings
    rows_per_micro_batch: int
    updates_per_batch: int


def policy_settings(name: str, section: Any, sampling: SamplingSettings) -> PolicySettings:
    """The settings that a config's section `name` makes.

    Raises:
      SettingsError: its `remat` is not one of REMAT_POLICIES.
    """
    check_choice(f"{name}.remat", section.remat, tuple(REMAT_POLICIES))
    return PolicySettings(
        sampling=sampling,
        loss=LossSettings(
            temperature=section.temperature,
            clip_ratio=section.clip_ratio,
            kl_coef=section.kl_coef,
            chunk_tokens=section.logprob_chunk_tokens,
            remat=section.remat,
            bucket_tokens=tuple(section.bucket_tokens),
        ),
        optimizer=OptimizerSettings(
            learning_rate=section.learning_rate,
            b1=section.adam_b1,
            b2=section.adam_b2,
            eps=section.adam_eps,
            max_grad_norm=section.max_grad_norm,
        ),
        rows_per_micro_batch=section.rows_per_micro_batch,
        updates_per_batch=section.updates_per_batch,
    )
