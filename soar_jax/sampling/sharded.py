"""The two compiled sampling programs: many rows of one policy, and a population of policies."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.sampling.sampler import SamplingSettings, sample
from soar_jax.types import PromptBatch, RolloutBatch

_STATIC = ("mesh", "model", "settings", "samples_per_prompt", "max_slots")


@functools.partial(jax.jit, static_argnames=_STATIC)
def sample_policy(
    weights: Params,
    frozen: FrozenBase | None,
    prompts: PromptBatch,  # [Q, T]
    key: jax.Array,
    first_prompt: jax.Array | int,  # number of the first prompt in the whole draw
    *,
    mesh: Mesh,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int,
    max_slots: int,  # rows that a device decodes at once
) -> RolloutBatch:
    """Samples one policy's completions, each device taking its share of the R = Q * samples rows."""
    num_shares = mesh.shape[parallel.POPULATION]
    sampling = functools.partial(
        sample, model=model, settings=settings, samples_per_prompt=samples_per_prompt, max_slots=max_slots
    )

    def share(
        weights: Params, frozen: FrozenBase | None, prompts: PromptBatch, key: jax.Array, first_prompt: jax.Array
    ) -> RolloutBatch:
        params = decoder_params(weights, frozen, model)
        number = jax.lax.axis_index(parallel.POPULATION)
        return _by_rows(
            mesh,
            params,
            prompts=prompts,
            key=key,
            first_prompt=first_prompt,
            share=number,
            num_shares=num_shares,
            sampling=sampling,
        )

    in_specs = (parallel.REPLICATED,) * 5
    rollouts = parallel.shard_over_population(mesh, share, in_specs, parallel.BY_POPULATION)(
        weights, frozen, prompts, key, jnp.asarray(first_prompt, jnp.int32)
    )
    return jax.tree.map(lambda leaf: leaf[: prompts.lengths.shape[0] * samples_per_prompt], rollouts)


@functools.partial(jax.jit, static_argnames=(*_STATIC, "population_batch"))
def sample_population(
    weights: Params,  # every leaf [P, ...]; the mesh divides P
    frozen: FrozenBase | None,
    prompts: PromptBatch,  # [P, Q, T]
    keys: jax.Array,  # [P]
    first_prompt: jax.Array | int,  # number of each student's first prompt in its whole draw
    *,
    mesh: Mesh,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int,
    max_slots: int,  # of a student, rows that a device decodes at once
    population_batch: int,
) -> RolloutBatch:
    """Samples every student's completions of its own prompts: leaves [P, R, ...].

    Each share of the population axis takes its students, `population_batch` of them at a time.
    """
    sampling = functools.partial(
        sample,
        model=model,
        settings=settings,
        samples_per_prompt=samples_per_prompt,
        max_slots=max_slots,
        together=parallel.STUDENTS if population_batch > 1 else None,
    )

    def share(
        weights: Params, frozen: FrozenBase | None, prompts: PromptBatch, keys: jax.Array, first_prompt: jax.Array
    ) -> RolloutBatch:
        def one_student(inputs: tuple[Params, PromptBatch, jax.Array]) -> RolloutBatch:
            weights, prompts, key = inputs
            params = decoder_params(weights, frozen, model)
            return _by_rows(
                mesh,
                params,
                prompts=prompts,
                key=key,
                first_prompt=first_prompt,
                share=jnp.int32(0),
                num_shares=1,
                sampling=sampling,
            )

        return parallel.map_students(one_student, (weights, prompts, keys), population_batch)

    in_specs = (
        parallel.BY_POPULATION,
        parallel.REPLICATED,
        parallel.BY_POPULATION,
        parallel.BY_POPULATION,
        parallel.REPLICATED,
    )
    rollouts = parallel.shard_over_population(mesh, share, in_specs, parallel.BY_POPULATION)(
        weights, frozen, prompts, keys, jnp.asarray(first_prompt, jnp.int32)
    )
    return jax.tree.map(lambda leaf: leaf[:, : prompts.lengths.shape[1] * samples_per_prompt], rollouts)


def _by_rows(
    mesh: Mesh,
    params: Params,
    prompts: PromptBatch,
    key: jax.Array,
    first_prompt: jax.Array,
    share: jax.Array,  # [] int32, which of `num_shares` parts of a policy's rows
    num_shares: int,
    sampling: Callable[..., RolloutBatch],  # `sample`, what is the same for all
) -> RolloutBatch:
    """A share of one policy's rows, sampled by the devices that share them out further."""

    def part(
        place: jax.Array,
        num_places: int,
        params: Params,
        prompts: PromptBatch,
        key: jax.Array,
        first_prompt: jax.Array,
        share: jax.Array,
    ) -> RolloutBatch:
        place, num_parts = share * num_places + place, num_shares * num_places
        return sampling(params, prompts, key, first_prompt=first_prompt, part=place, num_parts=num_parts)

    return parallel.shard_over_rows(mesh, part)(params, prompts, key, first_prompt, share)
