"""Builds the fixed parts of a run from its config, and checks that they fit together."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.checkpoints.base_model import LoadedModel, load_model, params_sha256
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import require
from soar_jax.evaluation.embedding import make_embedder
from soar_jax.evaluation.evaluator import Evaluator
from soar_jax.grading.grader import Grader
from soar_jax.model import attention, layout, lora
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params
from soar_jax.problems.prompts import teacher_prompts
from soar_jax.rl.policy import policy_settings
from soar_jax.rng import stream_key
from soar_jax.runs.memory_fit import fit_to_memory
from soar_jax.runs.mesh_fit import check_mesh_fit
from soar_jax.sampling.text import TextSampler
from soar_jax.soar.setup import Setup
from soar_jax.telemetry.devices import device_memory
from soar_jax.telemetry.meter import WorkMeter


def check_mesh(config: RunConfig, trains: bool = True) -> Mesh:
    """Makes the mesh, and checks what depends on the devices alone.

    Args:
      trains: whether policies are trained; otherwise sizes of training need not fit.

    Raises:
      SettingsError: the config does not fit the devices.
    """
    sizes = config.mesh
    mesh = parallel.make_mesh(sizes.population, data=sizes.data, fsdp=sizes.fsdp, tensor=sizes.tensor)
    attention.check(config.model, mesh)
    if trains:
        check_mesh_fit(mesh, config)
    return mesh


def build(config: RunConfig, base: LoadedModel | None = None, trains: bool = True) -> Setup:
    """Makes the mesh, loads the base model, and builds sampler, grader and evaluator.

    Args:
      base: a loaded model, instead of the config's.
      trains: as in `check_mesh`.

    Raises:
      SettingsError: the config does not fit the devices or the model.
    """
    mesh = check_mesh(config, trains)
    base = _load_base(config, mesh, base)
    config = fit_to_memory(config, base.config, mesh, memory_bytes=device_memory(mesh.devices.flat[0]), trains=trains)
    weights, frozen_base = _base_policy(config, mesh, base)
    sampler = _make_sampler(config, mesh, base, frozen_base=frozen_base)
    _check_lengths(config, sampler, trains)
    student, teacher = (
        policy_settings(
            policy,
            sampler.settings(policy.max_completion_tokens, policy.temperature),
            model=sampler.model,
            lora=config.trained_lora,
        )
        for policy in (config.student, config.teacher)
    )
    grading = config.grading
    grader = Grader(
        extraction=grading.extraction,
        equivalence=grading.equivalence,
        num_workers=grading.num_workers,
        deadline_s=grading.deadline_s,
    )
    return Setup(
        config=config,
        mesh=mesh,
        base_weights=weights,
        base_sha256=params_sha256(base.params),
        sampler=sampler,
        evaluator=Evaluator(sampler=sampler, grader=grader, prompts_per_call=config.evaluation.problems_per_call),
        embedder=make_embedder(config.analysis.embeddings, sampler, weights, rows_per_call=config.num_written),
        meter=sampler.meter,
        teacher=teacher,
        student=student,
    )


def _load_base(config: RunConfig, mesh: Mesh, base: LoadedModel | None) -> LoadedModel:
    """Loads or shards the base model, and chooses its attention."""
    if base is None:
        base = load_model(config.model.source, config.model.dtype, config.params_dtype, mesh=mesh)
    else:
        base = dataclasses.replace(base, params=layout.shard_params(mesh, base.config, base.params))
    return dataclasses.replace(base, config=attention.choose(config.model, base.config, mesh))


def _base_policy(config: RunConfig, mesh: Mesh, base: LoadedModel) -> tuple[Params, FrozenBase | None]:
    """Makes the weights that every policy starts from, and with LoRA the frozen base of its adapters."""
    if config.trained_lora is None:
        return base.params, None
    adapters = lora.init_adapters(config.lora, base.config, stream_key(config.seed, "lora"))
    frozen = FrozenBase(base.params, parallel.replicate(mesh, jnp.float32(config.lora.scale)))
    return layout.shard_params(mesh, base.config, adapters), frozen


def _make_sampler(config: RunConfig, mesh: Mesh, base: LoadedModel, *, frozen_base: FrozenBase | None) -> TextSampler:
    return TextSampler(
        mesh=mesh,
        model=base.config,
        tokenizer=base.tokenizer,
        prompts=config.prompts,
        max_slots=config.sampling.max_slots,
        population_batch=config.sampling.population_batch,
        frozen_base=frozen_base,
        meter=WorkMeter(base.config, config.trained_lora),
    )


def _check_lengths(config: RunConfig, sampler: TextSampler, trains: bool) -> None:
    """Checks that prompts and completions fit the model's context, and the teacher's prompts the buckets."""
    prompts, limit = config.prompts, sampler.model.max_position_tokens
    writers = (config.student, config.teacher) if trains else (config.student,)
    longest = max(prompts.bucket_tokens) + max(writer.max_completion_tokens for writer in writers)
    require(
        longest <= limit,
        f"prompts.bucket_tokens and max_completion_tokens add up to {longest} tokens, but the model was made for "
        f"{limit}",
    )
    if trains:  # encoding raises if a prompt exceeds all buckets
        texts = teacher_prompts(prompts)
        sampler.encode_prompts(texts, (prompts.teacher_opening,) * len(texts))
