"""Compiled settings of one kind of policy, teacher or student."""

from __future__ import annotations

import dataclasses
from typing import Any

from soar_jax import parallel
from soar_jax.config.policy_sections import LoRASection, PolicySection
from soar_jax.model.config import ModelConfig
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

    def reference_options(self, mesh: parallel.AnyMesh, model: ModelConfig) -> dict[str, Any]:
        """Static arguments of the programs of the policy's reference."""
        return {"mesh": mesh, "model": model, "loss": self.loss, "rows_per_micro_batch": self.rows_per_micro_batch}

    def update_options(self, mesh: parallel.AnyMesh, model: ModelConfig) -> dict[str, Any]:
        """Static arguments of the programs that update the policy."""
        return self.reference_options(mesh, model) | {"optimizer": self.optimizer}


def policy_settings(
    section: PolicySection, sampling: SamplingSettings, model: ModelConfig, lora: LoRASection | None = None
) -> PolicySettings:
    """The settings of a config section, for a model; with `lora` where adapters are trained.

    Decoding and training round apart in bfloat16 and with an int8 cache, and only there are importance weights needed.
    """
    is_exact = model.dtype == "float32" and not model.int8_cache
    return PolicySettings(
        sampling=sampling,
        loss=LossSettings(
            temperature=section.temperature,
            clip_ratio=section.clip_ratio,
            importance_cap=0.0 if is_exact else section.importance_cap,
            kl_coef=section.kl_coef if section.kl_in_loss else 0.0,
            chunk_tokens=section.logprob_chunk_tokens,
            remat=section.remat,
            completion_buckets=section.completion_buckets,
        ),
        optimizer=OptimizerSettings(
            b1=section.adam_b1,
            b2=section.adam_b2,
            eps=section.adam_eps,
            weight_decay=section.weight_decay,
            max_grad_norm=section.max_grad_norm,
            learning_rate_scale=lora.learning_rate_scale if lora else 1.0,
        ),
        rows_per_micro_batch=section.rows_per_micro_batch,
        updates_per_batch=section.updates_per_batch,
    )
