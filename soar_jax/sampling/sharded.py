"""The compiled sampling programs: one policy, and a population of policies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.parallel.ahead import ahead_jit
from soar_jax.sampling.sampler import SamplingSettings, sample
from soar_jax.types import PromptBatch, RolloutBatch, map_rows

_STATIC = ("mesh", "model", "settings", "samples_per_prompt", "max_slots")


# Many parameters: a compiled program takes arrays and, by keyword, hashable settings, each by itself.
@ahead_jit(static_argnames=_STATIC)
def sample_policy(
    weights: Params,
    frozen_base: FrozenBase | None,
    prompts: PromptBatch,  # [Q, T]
    key: jax.Array,
    first_prompt: jax.Array | int,  # index of the first prompt in the complete draw
    *,
    mesh: Mesh,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int,
    max_slots: int,  # rows that a device decodes at once
) -> RolloutBatch:
    """Samples completions of one policy, its R = Q * samples_per_prompt rows sharded over all devices."""
    num_shards = mesh.shape[parallel.POPULATION]
    options = {"settings": settings, "samples_per_prompt": samples_per_prompt, "max_slots": max_slots}
    sample_rows = _row_sampler(mesh, num_shards, model=model, **options)

    def sample_shard(
        weights: Params, frozen_base: FrozenBase | None, prompts: PromptBatch, key: jax.Array, first_prompt: jax.Array
    ) -> RolloutBatch:
        params = decoder_params(weights, frozen_base, model)
        return sample_rows(params, prompts, key, first_prompt, jax.lax.axis_index(parallel.POPULATION))

    in_specs = (parallel.REPLICATED,) * 5
    rollouts = parallel.shard_over_population(mesh, sample_shard, in_specs=in_specs, out_specs=parallel.BY_POPULATION)(
        weights, frozen_base, prompts, key, jnp.asarray(first_prompt, jnp.int32)
    )
    num_rows = prompts.lengths.shape[0] * samples_per_prompt
    return map_rows(lambda leaf: leaf[:num_rows], dataclasses.replace(rollouts, prompts=prompts))


# Many parameters: as above.
@ahead_jit(static_argnames=(*_STATIC, "population_batch"))
def sample_population(
    weights: Params,  # every leaf [P, ...]; the mesh divides P
    frozen_base: FrozenBase | None,
    prompts: PromptBatch,  # [P, Q, T]
    keys: jax.Array,  # [P], or [] of all students
    first_prompt: jax.Array | int,  # index of each student's first prompt in its complete draw
    one_more: Params | None = None,  # weights of one policy
    *,
    mesh: Mesh,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int,
    max_slots: int,  # rows per student that a device decodes at once
    population_batch: int,
) -> RolloutBatch:
    """Samples completions of every student's own prompts: leaves [P, R, ...].

    Students are sharded over the population axis; each shard runs `population_batch` of its students at a time. With
    `one_more`, leaves are [P + 1, R, ...]: the last policy samples for student 0's prompts with its key, by the same
    loop as the students, so that equal weights have equal completions. Every shard runs it.
    """
    keys = jnp.broadcast_to(keys, prompts.lengths.shape[0])
    options = {"settings": settings, "samples_per_prompt": samples_per_prompt, "max_slots": max_slots}
    vmap_axis_name = parallel.STUDENTS if population_batch > 1 else None
    sample_rows = _row_sampler(mesh, 1, model=model, vmap_axis_name=vmap_axis_name, **options)

    # shard_map passes arguments by position.
    def sample_shard(
        weights: Params,
        frozen_base: FrozenBase | None,
        prompts: PromptBatch,
        keys: jax.Array,
        first_prompt: jax.Array,
        one_more: Params | None,
    ) -> RolloutBatch:
        def sample_student(inputs: tuple[Params, PromptBatch, jax.Array]) -> RolloutBatch:
            weights, prompts, key = inputs
            params = decoder_params(weights, frozen_base, model)
            return sample_rows(params, prompts, key, first_prompt, jnp.int32(0))

        more = None if one_more is None else (one_more, *jax.tree.map(lambda leaf: leaf[0], (prompts, keys)))
        return parallel.map_students(sample_student, (weights, prompts, keys), population_batch, one_more=more)

    replicated, by_population = parallel.REPLICATED, parallel.BY_POPULATION
    in_specs = (by_population, replicated, by_population, by_population, replicated, replicated)
    rollouts = parallel.shard_over_population(mesh, sample_shard, in_specs=in_specs, out_specs=by_population)(
        weights, frozen_base, prompts, keys, jnp.asarray(first_prompt, jnp.int32), one_more
    )
    if one_more is not None:
        rollouts = jax.tree.map(lambda leaf: _move_one_more(leaf, mesh.shape[parallel.POPULATION]), rollouts)
        prompts = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), prompts)
    num_rows = prompts.lengths.shape[1] * samples_per_prompt
    return map_rows(lambda leaf: leaf[:, :num_rows], dataclasses.replace(rollouts, prompts=prompts))


def _move_one_more(leaf: jax.Array, num_shards: int) -> jax.Array:
    """Moves the last policy of the first shard to the end, and drops those of the other shards: [P + 1, ...]."""
    by_shard = leaf.reshape(num_shards, -1, *leaf.shape[1:])
    return jnp.concatenate([by_shard[:, :-1].reshape(-1, *leaf.shape[1:]), by_shard[0, -1:]])


def _row_sampler(mesh: Mesh, num_shards: int, **options: Any) -> Callable[..., RolloutBatch]:
    """Shards `sample` over a policy's rows.

    Args:
      num_shards: shards of the policy's rows over the population axis; the row axes divide each further.
      options: static arguments of `sample`.

    Returns:
      A function of (params, prompts, key, first_prompt, index of the population shard), whose rollouts are without
      their prompts.
    """

    # shard_map passes arguments by position, and a closure over arrays would not be sharded by the specs.
    def sample_shard(
        index: jax.Array,
        num_row_shards: int,
        params: Params,
        prompts: PromptBatch,
        key: jax.Array,
        first_prompt: jax.Array,
        shard: jax.Array,
    ) -> RolloutBatch:
        index, num_total = shard * num_row_shards + index, num_shards * num_row_shards
        rollouts = sample(
            params, prompts, key, first_prompt=first_prompt, shard_index=index, num_shards=num_total, **options
        )
        return rollouts.without_prompts()  # all shards have the same

    return parallel.shard_over_rows(mesh, sample_shard)
