"""The compiled training programs: one policy, and a population of policies."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from soar_jax import parallel
from soar_jax.model import layout
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.model.rounding import cast_params
from soar_jax.parallel.ahead import ahead_jit
from soar_jax.rl.losses import LossSettings
from soar_jax.rl.reference import reference_logprobs
from soar_jax.rl.train_step import (
    Metrics,
    OptimizerSettings,
    TrainState,
    init_train_state,
    make_optimizer,
    train_step,
)
from soar_jax.types import RolloutBatch, TrainBatch

_STATIC = ("mesh", "model", "loss", "optimizer", "rows_per_micro_batch")


# Many parameters: a compiled program takes arrays and, by keyword, hashable settings, each by itself.
@ahead_jit(static_argnames=_STATIC, donate_argnames=("state",))
def update_policy(
    state: TrainState,
    batch: TrainBatch,  # B rows
    frozen_base: FrozenBase | None,
    learning_rate: jax.Array | float,  # [] float32
    *,
    mesh: Mesh,
    model: ModelConfig,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    rows_per_micro_batch: int,
) -> tuple[TrainState, Metrics]:
    """Runs one `train_step` of one policy; metrics are scalars.

    Every shard of the population axis computes the same gradient, its rows sharded over the other axes. The optimiser
    step runs outside of that shard_map, on states sharded over all devices and never gathered.
    """
    replicated = parallel.REPLICATED
    state, metrics = train_step(
        state,
        batch,
        learning_rate,
        frozen_base=frozen_base,
        model=model,
        loss=loss,
        optimizer=optimizer,
        rows_per_micro_batch=rows_per_micro_batch,
        shard_gradient=lambda gradient_of: parallel.shard_over_population(
            mesh, gradient_of, in_specs=(replicated,) * 3, out_specs=replicated
        ),
    )
    return _to_storage_sharding(state, mesh, model=model, optimizer=optimizer), metrics


# Many parameters: as above.
@ahead_jit(static_argnames=(*_STATIC, "population_batch"), donate_argnames=("states",))
def update_population(
    states: TrainState,  # every leaf [P, ...]; the mesh divides P
    batches: TrainBatch,  # every leaf [P, B, ...]
    frozen_base: FrozenBase | None,
    learning_rate: jax.Array | float,  # [] float32, the same for all students
    *,
    mesh: Mesh,
    model: ModelConfig,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    rows_per_micro_batch: int,
    population_batch: int,
) -> tuple[TrainState, Metrics]:
    """Runs one `train_step` of every student on its own batch; metrics are [P]."""

    def update_shard(
        states: TrainState,
        batches: TrainBatch,
        frozen_base: FrozenBase | None,
        learning_rate: jax.Array,
    ) -> tuple[TrainState, Metrics]:
        step = functools.partial(
            train_step,
            learning_rate=learning_rate,
            frozen_base=frozen_base,
            model=model,
            loss=loss,
            optimizer=optimizer,
            rows_per_micro_batch=rows_per_micro_batch,
            is_batched=population_batch > 1,
        )
        return parallel.map_students(lambda inputs: step(*inputs), (states, batches), population_batch)

    in_specs = (*(parallel.BY_POPULATION,) * 2, *(parallel.REPLICATED,) * 2)
    states, metrics = parallel.shard_over_population(
        mesh, update_shard, in_specs=in_specs, out_specs=parallel.BY_POPULATION
    )(states, batches, frozen_base, jnp.float32(learning_rate))
    return _to_storage_sharding(states, mesh, model=model, optimizer=optimizer, num_stacked=1), metrics


# Many parameters: as above.
@ahead_jit(static_argnames=("mesh", "model", "loss", "rows_per_micro_batch"))
def policy_reference_logprobs(
    rollouts: RolloutBatch,  # B rows
    reference: Params,
    frozen_base: FrozenBase | None,
    *,
    mesh: Mesh,
    model: ModelConfig,
    loss: LossSettings,
    rows_per_micro_batch: int,
) -> jax.Array:
    """Log-probabilities [B, C] float32 of one policy's completions under the reference, see `reference.py`."""
    logprobs = _reference_of_shard(model, loss, rows_per_micro_batch)
    replicated = parallel.REPLICATED
    return parallel.shard_over_population(mesh, logprobs, in_specs=(replicated,) * 3, out_specs=replicated)(
        rollouts, reference, frozen_base
    )


# Many parameters: as above.
@ahead_jit(static_argnames=("mesh", "model", "loss", "rows_per_micro_batch"))
def population_reference_logprobs(
    rollouts: RolloutBatch,  # every leaf [P, B, ...]; the mesh divides P
    reference: Params,  # one policy, the same for all students
    frozen_base: FrozenBase | None,
    *,
    mesh: Mesh,
    model: ModelConfig,
    loss: LossSettings,
    rows_per_micro_batch: int,
) -> jax.Array:
    """Log-probabilities [P, B, C] float32 of the students' completions under the reference."""
    logprobs = _reference_of_shard(model, loss, rows_per_micro_batch)

    def shard(rollouts: RolloutBatch, reference: Params, frozen_base: FrozenBase | None) -> jax.Array:
        def of_student(rollouts: RolloutBatch) -> jax.Array:
            return logprobs(rollouts, reference, frozen_base)

        return parallel.map_students(of_student, rollouts, population_batch=1)

    in_specs = (parallel.BY_POPULATION, parallel.REPLICATED, parallel.REPLICATED)
    return parallel.shard_over_population(mesh, shard, in_specs=in_specs, out_specs=parallel.BY_POPULATION)(
        rollouts, reference, frozen_base
    )


@ahead_jit(static_argnames=("mesh", "model", "optimizer", "size"))
def init_population(
    weights: Params, *, mesh: Mesh, model: ModelConfig, optimizer: OptimizerSettings, size: int
) -> TrainState:
    """Makes `size` students, copies of one policy with fresh optimiser states: leaves [P, ...]."""
    fresh = init_train_state(weights, make_optimizer(optimizer))
    stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), fresh)
    return _to_storage_sharding(stacked, mesh, model=model, optimizer=optimizer, num_stacked=1)


@ahead_jit(static_argnames=("mesh", "model", "optimizer"))
def init_policy(weights: Params, *, mesh: Mesh, model: ModelConfig, optimizer: OptimizerSettings) -> TrainState:
    """Copies a policy into buffers of its own, with a fresh optimiser state."""
    own = jax.tree.map(jnp.copy, weights)
    return _to_storage_sharding(
        init_train_state(own, make_optimizer(optimizer)), mesh, model=model, optimizer=optimizer
    )


@ahead_jit(static_argnames=("mesh", "model"))
def take_student(weights: Params, index: jax.Array | int, *, mesh: Mesh, model: ModelConfig) -> Params:
    """Weights of one student of a population, in the storage sharding of a single policy.

    The shard that has the student sends it, as a sum of bits of which all others are zero. Indexing the whole
    population would all-gather it.
    """

    def take_from_shard(weights: Params, index: jax.Array) -> Params:
        num_here = len(jax.tree.leaves(weights)[0])
        here = index - num_here * jax.lax.axis_index(parallel.POPULATION)
        is_here = (here >= 0) & (here < num_here)

        def take(leaf: jax.Array) -> jax.Array:
            own = leaf[jnp.clip(here, 0, num_here - 1)]
            if mesh.shape[parallel.POPULATION] == 1:  # XLA cannot partition a sum over an axis of one
                return own
            bits = own.view(jnp.uint32)  # of float32; a sum of floats loses the sign of -0
            return jax.lax.psum(jnp.where(is_here, bits, 0), parallel.POPULATION).view(leaf.dtype)

        return jax.tree.map(take, weights)

    in_specs = (parallel.BY_POPULATION, parallel.REPLICATED)
    one = parallel.shard_over_population(mesh, take_from_shard, in_specs=in_specs, out_specs=parallel.REPLICATED)(
        weights, jnp.asarray(index)
    )
    return jax.lax.with_sharding_constraint(one, layout.shardings(mesh, model, one))


@ahead_jit(static_argnames=("mesh", "model"))
def changed_shares(weights: Params, start: Params, *, mesh: Mesh, model: ModelConfig) -> jax.Array:
    """Share of each student's weights that programs compute with otherwise than with those of `start`: [P] float32.

    Both are cast to the model's dtype first, so that a step that is rounded away changes nothing. Adapters are compared
    as they are trained, without their scale. Half of them start at zero, so that the first step changes those.

    Args:
      weights: a population's, leaves [P, ...].
      start: the weights of one policy.
    """

    def share(before: Params, weights: Params) -> jax.Array:
        after = cast_params(weights, model.dtype)
        changed = jax.tree.map(lambda a, b: jnp.mean(a != b, dtype=jnp.float32) * float(a.size), after, before)
        num_weights = float(sum(leaf.size for leaf in jax.tree.leaves(after)))  # more than an int32 holds
        return jnp.asarray(sum(jax.tree.leaves(changed)) / num_weights)

    def share_of_shard(weights: Params, start: Params) -> jax.Array:
        share_of = functools.partial(share, cast_params(start, model.dtype))
        return parallel.map_students(share_of, weights, population_batch=1)

    in_specs = (parallel.BY_POPULATION, parallel.REPLICATED)
    return parallel.shard_over_population(mesh, share_of_shard, in_specs=in_specs, out_specs=parallel.BY_POPULATION)(
        weights, start
    )


def _reference_of_shard(
    model: ModelConfig, loss: LossSettings, rows_per_micro_batch: int
) -> Callable[[RolloutBatch, Params, FrozenBase | None], jax.Array]:
    """Makes the function of (rollouts of R rows, reference, frozen base) that computes log-probabilities [R, C]."""

    def logprobs(rollouts: RolloutBatch, reference: Params, frozen_base: FrozenBase | None) -> jax.Array:
        params = decoder_params(reference, frozen_base, model)
        return reference_logprobs(params, model, rollouts, settings=loss, rows_per_micro_batch=rows_per_micro_batch)

    return logprobs


def _to_storage_sharding(
    state: TrainState, mesh: Mesh, model: ModelConfig, optimizer: OptimizerSettings, num_stacked: int = 0
) -> TrainState:
    weights: dict[str, NamedSharding] = layout.shardings(mesh, model, weights=state.weights, num_stacked=num_stacked)
    opt_state = layout.state_shardings(
        mesh, make_optimizer(optimizer), opt_state=state.opt_state, weight_shardings=weights, num_stacked=num_stacked
    )
    return jax.lax.with_sharding_constraint(state, TrainState(weights=weights, opt_state=opt_state))
