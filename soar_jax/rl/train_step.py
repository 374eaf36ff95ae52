"""One policy-gradient update as a pure function: `train_step(state, batch, ...) -> (state, metrics)`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params
from soar_jax.rl.gradient import accumulated_gradient
from soar_jax.rl.losses import RATIO_BOUNDS, Comparison, LossSettings
from soar_jax.types import TrainBatch

# float32: those of an update, and `comparison_metrics`. `grad_norm` is before clipping, and `active_share` that of rows
# with a non-zero advantage.
Metrics = dict[str, jax.Array]
UPDATE_METRICS = ("loss", "grad_norm", "active_share")


@flax.struct.dataclass(kw_only=True)
class TrainState:
    """A policy and its optimiser state."""

    weights: Params  # float32: a full parameter pytree, or adapters
    opt_state: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """AdamW (arXiv 1711.05101) with gradients clipped by their global norm.

    The learning rate is an argument of each update, so that a schedule compiles nothing again.
    """

    b1: float
    b2: float
    eps: float
    weight_decay: float  # decoupled: a step takes learning_rate * this * weight off each weight
    max_grad_norm: float  # 0: gradients are not clipped
    learning_rate_scale: float = 1.0  # factor on the learning rate; adapters take larger steps than whole models


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Builds the optax optimiser up to the learning rate, by whose negative `train_step` multiplies its updates.

    The inner chain keeps the tree of `optax.adam`, which checkpoints of earlier runs have.
    """
    return optax.chain(
        optax.clip_by_global_norm(settings.max_grad_norm) if settings.max_grad_norm else optax.identity(),
        optax.chain(
            optax.scale_by_adam(b1=settings.b1, b2=settings.b2, eps=settings.eps),
            optax.add_decayed_weights(settings.weight_decay),
        ),
    )


def init_train_state(weights: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns a policy with a fresh optimiser state."""
    return TrainState(weights=weights, opt_state=optimizer.init(weights))


# Many parameters: arrays and hashable settings of one update, each with its own place in a compiled program.
def train_step(
    state: TrainState,
    batch: TrainBatch,  # B rows
    learning_rate: jax.Array | float,  # of this update, [] float32
    *,
    frozen_base: FrozenBase | None,
    model: ModelConfig,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    rows_per_micro_batch: int,
    is_batched: bool = False,
    shard_gradient: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda gradient_of: gradient_of,
) -> tuple[TrainState, Metrics]:
    """Updates one policy: gradient accumulated over micro-batches, clipped AdamW step, metrics.

    The loss is summed over a row's tokens and averaged over the rows, see `losses.policy_gradient_loss`.

    A batch without an advantage leaves the whole state as it is. By its momentum alone Adam would walk on, and it would
    make full steps of the KL term's gradient and of weight decay, however small.

    Args:
      batch: with `reference_logprobs` where `loss.kl_coef` > 0.
      frozen_base: the base of the adapters; None where `state` holds a full parameter pytree.
      is_batched: whether this runs under vmap.
      shard_gradient: wraps the gradient, a function of (weights, batch, frozen_base), for instance in a shard_map;
        the optimiser step stays outside.

    Returns:
      The new state, and metrics as scalars.
    """
    gradient_of = functools.partial(
        accumulated_gradient,
        model=model,
        settings=loss,
        rows_per_micro_batch=rows_per_micro_batch,
        is_batched=is_batched,
    )
    value, comparison, gradient = shard_gradient(gradient_of)(state.weights, batch, frozen_base)
    updates, opt_state = make_optimizer(optimizer).update(gradient, state.opt_state, state.weights)
    rate = learning_rate * optimizer.learning_rate_scale
    updates = jax.tree.map(lambda update: -rate * update, updates)
    updated = TrainState(weights=optax.apply_updates(state.weights, updates), opt_state=opt_state)
    has_signal = jnp.any(batch.advantages != 0)
    state = jax.tree.map(lambda new, old: jnp.where(has_signal, new, old), updated, state)
    metrics = {
        "loss": value,
        "grad_norm": optax.tree.norm(gradient),
        "active_share": jnp.mean((batch.advantages != 0).astype(jnp.float32)),
    }
    return state, metrics | comparison_metrics(comparison, has_reference=batch.reference_logprobs is not None)


def comparison_metrics(comparison: Comparison, *, has_reference: bool) -> Metrics:
    """Means over the trained tokens, NaN if there were none.

    `mismatch` is the mean absolute difference of the policy's and the sampler's log-probabilities, `mismatch_kl` the
    KL divergence of the sampler to the policy, and `ratio_within_D` the share of tokens whose ratio is at most D from
    1. `reference_kl` is the divergence of the policy to the reference, where the loss has a KL term. Both divergences
    are by the k3 estimator.
    """
    sums = {"mismatch": comparison.absolute, "mismatch_kl": comparison.k3}
    sums |= {f"ratio_within_{bound}": comparison.ratio_within[index] for index, bound in enumerate(RATIO_BOUNDS)}
    sums |= {"reference_kl": comparison.reference_k3} if has_reference else {}
    return {name: value / comparison.num_tokens for name, value in sums.items()}
