"""The two compiled sampling programs: many rows of one policy, and a population of policies."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import Frozen, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.parallel import mesh as parallel
from soar_jax.sampling.sampler import SamplingSettings, sample_in_chunks
from soar_jax.types import PromptBatch, RolloutBatch

_STATIC = ("mesh", "model", "settings", "samples_per_prompt", "rows_per_chunk")


@functools.partial(jax.jit, static_argnames=_STATIC)
def sample_policy(
    weights: Params,
    frozen: Frozen | None,
    prompts: PromptBatch,  # [Q, T]; the mesh divides Q
    key: jax.Array,
    first_prompt: jax.Array | int,  # number of the first prompt in the whole draw
    *,
    mesh: Mesh,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int,
    rows_per_chunk: int,
) -> RolloutBatch:
    """Samples one policy's completions, each device taking its share of the prompts: R = Q * samples rows."""

    def share(
        weights: Params, frozen: Frozen | None, prompts: PromptBatch, key: jax.Array, first_prompt: jax.Array
    ) -> RolloutBatch:
        params = decoder_params(weights, frozen, model)
        first_prompt += jax.lax.axis_index(parallel.POPULATION) * prompts.tokens.shape[0]
        return sample_in_chunks(params, prompts, key, model, settings, samples_per_prompt, rows_per_chunk, first_prompt)

    in_specs = (parallel.WHOLE, parallel.WHOLE, parallel.SPLIT, parallel.WHOLE, parallel.WHOLE)
    return parallel.spread(mesh, share, in_specs, parallel.SPLIT)(
        weights, frozen, prompts, key, jnp.asarray(first_prompt, jnp.int32)
    )


@functools.partial(jax.jit, static_argnames=(*_STATIC, "population_batch"))
def sample_population(
    weights: Params,  # every leaf [P, ...]; the mesh divides P
    frozen: Frozen | None,
    prompts: PromptBatch,  # [P, Q, T]
    keys: jax.Array,  # [P]
    *,
    mesh: Mesh,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int,
    rows_per_chunk: int,
    population_batch: int,
) -> RolloutBatch:
    """Samples every student's completions of its own prompts: leaves [P, R, ...].

    Each device takes its share of the students, `population_batch` of them at a time.
    """

    def share(weights: Params, frozen: Frozen | None, prompts: PromptBatch, keys: jax.Array) -> RolloutBatch:
        def one_student(inputs: tuple[Params, PromptBatch, jax.Array]) -> RolloutBatch:
            weights, prompts, key = inputs
            params = decoder_params(weights, frozen, model)
            return sample_in_chunks(params, prompts, key, model, settings, samples_per_prompt, rows_per_chunk)

        return parallel.map_students(one_student, (weights, prompts, keys), population_batch)

    in_specs = (parallel.SPLIT, parallel.WHOLE, parallel.SPLIT, parallel.SPLIT)
    return parallel.spread(mesh, share, in_specs, parallel.SPLIT)(weights, frozen, prompts, keys)
