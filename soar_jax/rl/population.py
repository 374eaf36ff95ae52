"""The compiled update programs: one policy, and a population of policies."""

from __future__ import annotations

import functools

import jax
from jax.sharding import Mesh

from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import Frozen
from soar_jax.model.parameters import Params
from soar_jax.parallel import mesh as parallel
from soar_jax.rl.losses import LossSettings
from soar_jax.rl.train_step import (
    OptimizerSettings,
    TrainState,
    init_train_state,
    make_optimizer,
    make_train_step,
)
from soar_jax.types import TrainBatch

Metrics = dict[str, jax.Array]


@functools.partial(
    jax.jit,
    static_argnames=("model", "loss", "optimizer", "rows_per_micro_batch"),
    donate_argnames=("state",),
)
def update_policy(
    state: TrainState,
    batch: TrainBatch,  # B rows
    reference: Params | None,
    frozen: Frozen | None,
    *,
    model: ModelConfig,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    rows_per_micro_batch: int,
) -> tuple[TrainState, Metrics]:
    """One update of one policy; metrics are scalars."""
    step = make_train_step(model, loss, make_optimizer(optimizer), rows_per_micro_batch)
    return step(state, batch, reference, frozen)


@functools.partial(
    jax.jit,
    static_argnames=("mesh", "model", "loss", "optimizer", "rows_per_micro_batch", "population_batch"),
    donate_argnames=("states",),
)
def update_population(
    states: TrainState,  # every leaf [P, ...]; the mesh divides P
    batches: TrainBatch,  # every leaf [P, B, ...]
    reference: Params | None,  # one policy, the same for all students
    frozen: Frozen | None,
    *,
    mesh: Mesh,
    model: ModelConfig,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    rows_per_micro_batch: int,
    population_batch: int,
) -> tuple[TrainState, Metrics]:
    """One update of every student on its own batch; metrics are [P]."""
    step = make_train_step(model, loss, make_optimizer(optimizer), rows_per_micro_batch)

    def share(
        states: TrainState, batches: TrainBatch, reference: Params | None, frozen: Frozen | None
    ) -> tuple[TrainState, Metrics]:
        def one_student(inputs: tuple[TrainState, TrainBatch]) -> tuple[TrainState, Metrics]:
            return step(*inputs, reference, frozen)

        return parallel.map_students(one_student, (states, batches), population_batch)

    in_specs = (parallel.SPLIT, parallel.SPLIT, parallel.WHOLE, parallel.WHOLE)
    return parallel.spread(mesh, share, in_specs, parallel.SPLIT)(states, batches, reference, frozen)


@functools.partial(jax.jit, static_argnames=("mesh", "optimizer", "size"))
def init_population(weights: Params, *, mesh: Mesh, optimizer: OptimizerSettings, size: int) -> TrainState:
    """`size` students that start as copies of one policy, each with a fresh optimiser: leaves [P, ...]."""
    fresh = init_train_state(weights, make_optimizer(optimizer))
    stacked = jax.tree.map(lambda leaf: jax.numpy.broadcast_to(leaf, (size, *leaf.shape)), fresh)
    return jax.lax.with_sharding_constraint(stacked, jax.sharding.NamedSharding(mesh, parallel.SPLIT))
