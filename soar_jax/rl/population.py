"""The compiled update programs: one policy, and a population of policies."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from soar_jax import parallel
from soar_jax.model import layout
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params
from soar_jax.rl.losses import LossSettings
from soar_jax.rl.train_step import (
    OptimizerSettings,
    TrainState,
    accumulated_gradient,
    apply_gradient,
    init_train_state,
    make_optimizer,
)
from soar_jax.types import TrainBatch

Metrics = dict[str, jax.Array]  # float32: loss, grad_norm, active_share (of rows with a non-zero advantage)
_STATIC = ("mesh", "model", "loss", "optimizer", "rows_per_micro_batch")


@functools.partial(jax.jit, static_argnames=_STATIC, donate_argnames=("state",))
def update_policy(
    state: TrainState,
    batch: TrainBatch,  # B rows
    reference: Params | None,
    frozen: FrozenBase | None,
    *,
    mesh: Mesh,
    model: ModelConfig,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    rows_per_micro_batch: int,
) -> tuple[TrainState, Metrics]:
    """One update of one policy; metrics are scalars.

    Every share of the population axis makes the same gradient, within it the rows are shared out; the optimiser's
    state is shared out over all devices and never gathered.

    Args:
      reference: weights of the KL term's policy; None where `loss.kl_coef` is 0.
      frozen: what adapters lie on; None where the weights are the whole model.
    """

    def share(
        weights: Params, batch: TrainBatch, reference: Params | None, frozen: FrozenBase | None
    ) -> tuple[jax.Array, Params]:
        return accumulated_gradient(
            weights,
            batch,
            reference=reference,
            frozen=frozen,
            model=model,
            settings=loss,
            rows_per_micro_batch=rows_per_micro_batch,
        )

    whole = parallel.REPLICATED
    value, gradient = parallel.shard_over_population(mesh, share, (whole, whole, whole, whole), whole)(
        state.weights, batch, reference, frozen
    )
    state, norm = apply_gradient(state, make_optimizer(optimizer), gradient)
    return _kept(state, mesh, model=model, optimizer=optimizer), _metrics(value, norm, batch)


@functools.partial(jax.jit, static_argnames=(*_STATIC, "population_batch"), donate_argnames=("states",))
def update_population(
    states: TrainState,  # every leaf [P, ...]; the mesh divides P
    batches: TrainBatch,  # every leaf [P, B, ...]
    reference: Params | None,  # one policy, the same for all students
    frozen: FrozenBase | None,
    *,
    mesh: Mesh,
    model: ModelConfig,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    rows_per_micro_batch: int,
    population_batch: int,
) -> tuple[TrainState, Metrics]:
    """One update of every student on its own batch; metrics are [P]."""

    def share(
        states: TrainState, batches: TrainBatch, reference: Params | None, frozen: FrozenBase | None
    ) -> tuple[TrainState, Metrics]:
        is_batched = population_batch > 1

        def one_student(inputs: tuple[TrainState, TrainBatch]) -> tuple[TrainState, Metrics]:
            state, batch = inputs
            value, gradient = accumulated_gradient(
                state.weights,
                batch,
                reference=reference,
                frozen=frozen,
                model=model,
                settings=loss,
                rows_per_micro_batch=rows_per_micro_batch,
                is_batched=is_batched,
            )
            state, norm = apply_gradient(state, make_optimizer(optimizer), gradient)
            return state, _metrics(value, norm, batch)

        return parallel.map_students(one_student, (states, batches), population_batch)

    in_specs = (parallel.BY_POPULATION, parallel.BY_POPULATION, parallel.REPLICATED, parallel.REPLICATED)
    states, metrics = parallel.shard_over_population(mesh, share, in_specs, parallel.BY_POPULATION)(
        states, batches, reference, frozen
    )
    return _kept(states, mesh, model=model, optimizer=optimizer, num_stacked=1), metrics


@functools.partial(jax.jit, static_argnames=("mesh", "model", "optimizer", "size"))
def init_population(
    weights: Params, *, mesh: Mesh, model: ModelConfig, optimizer: OptimizerSettings, size: int
) -> TrainState:
    """`size` students that start as copies of one policy, each with a fresh optimiser: leaves [P, ...]."""
    fresh = init_train_state(weights, make_optimizer(optimizer))
    stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), fresh)
    return _kept(stacked, mesh, model=model, optimizer=optimizer, num_stacked=1)


@functools.partial(jax.jit, static_argnames=("mesh", "model", "optimizer"))
def init_policy(weights: Params, *, mesh: Mesh, model: ModelConfig, optimizer: OptimizerSettings) -> TrainState:
    """A policy in buffers of its own, with a fresh optimiser."""
    own = jax.tree.map(jnp.copy, weights)
    return _kept(init_train_state(own, make_optimizer(optimizer)), mesh, model=model, optimizer=optimizer)


@functools.partial(jax.jit, static_argnames=("mesh", "model"))
def take_student(weights: Params, index: jax.Array | int, *, mesh: Mesh, model: ModelConfig) -> Params:
    """The weights of one student of a population, laid out as a policy of its own."""
    one = jax.tree.map(lambda leaf: leaf[index], weights)
    return jax.lax.with_sharding_constraint(one, layout.shardings(mesh, model, one))


def _metrics(loss: jax.Array, grad_norm: jax.Array, batch: TrainBatch) -> Metrics:
    active = jnp.mean((batch.advantages != 0).astype(jnp.float32))
    return {"loss": loss, "grad_norm": grad_norm, "active_share": active}


def _kept(
    state: TrainState, mesh: Mesh, model: ModelConfig, optimizer: OptimizerSettings, num_stacked: int = 0
) -> TrainState:
    weights: dict[str, NamedSharding] = layout.shardings(mesh, model, weights=state.weights, num_stacked=num_stacked)
    opt_state = layout.state_shardings(
        mesh, make_optimizer(optimizer), opt_state=state.opt_state, weight_shardings=weights, num_stacked=num_stacked
    )
    return jax.lax.with_sharding_constraint(state, TrainState(weights=weights, opt_state=opt_state))
