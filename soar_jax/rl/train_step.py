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

from soar_jax.model import decoder, layout
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.model.rounding import cast_params
from soar_jax.rl.losses import LossSettings, Mismatch, completion_widths, policy_gradient_loss
from soar_jax.types import TrainBatch

# float32: loss, grad_norm, active_share (of rows with a non-zero advantage), and over the trained tokens the mean
# absolute difference of policy's and sampler's log-probabilities (mismatch) and the KL divergence of the sampler to the
# policy by the k3 estimator (mismatch_kl); NaN if no token was trained on.
Metrics = dict[str, jax.Array]
MISMATCH = ("mismatch", "mismatch_kl")


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
    max_grad_norm: float
    learning_rate_scale: float = 1.0  # factor on the learning rate; adapters take larger steps than whole models


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Builds the optax optimiser up to the learning rate, by whose negative `train_step` multiplies its updates.

    The inner chain keeps the tree of `optax.adam`, which checkpoints of earlier runs have.
    """
    return optax.chain(
        optax.clip_by_global_norm(settings.max_grad_norm),
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
    reference: Params | None,
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
      reference: weights of the policy of the loss's KL term; None where `loss.kl_coef` is 0.
      frozen_base: the base of the adapters; None where `state` holds a full parameter pytree.
      is_batched: whether this runs under vmap.
      shard_gradient: wraps the gradient, a function of (weights, batch, reference, frozen_base), for instance in a
        shard_map; the optimiser step stays outside.

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
    value, mismatch, gradient = shard_gradient(gradient_of)(state.weights, batch, reference, frozen_base)
    updates, opt_state = make_optimizer(optimizer).update(gradient, state.opt_state, state.weights)
    rate = learning_rate * optimizer.learning_rate_scale
    updates = jax.tree.map(lambda update: -rate * update, updates)
    updated = TrainState(weights=optax.apply_updates(state.weights, updates), opt_state=opt_state)
    has_signal = jnp.any(batch.advantages != 0)
    state = jax.tree.map(lambda new, old: jnp.where(has_signal, new, old), updated, state)
    grad_norm = optax.tree.norm(gradient)  # before clipping
    active_share = jnp.mean((batch.advantages != 0).astype(jnp.float32))
    return state, {
        "loss": value,
        "grad_norm": grad_norm,
        "active_share": active_share,
        "mismatch": mismatch.absolute / mismatch.num_tokens,
        "mismatch_kl": mismatch.k3 / mismatch.num_tokens,
    }


# Many parameters: those of `train_step`.
def accumulated_gradient(
    weights: Params,
    batch: TrainBatch,
    reference: Params | None,
    frozen_base: FrozenBase | None,
    model: ModelConfig,
    settings: LossSettings,
    rows_per_micro_batch: int,
    is_batched: bool = False,
) -> tuple[jax.Array, Mismatch, Params]:
    """Loss (mean over the B rows), comparison with the sampler, and gradient, accumulated over micro-batches.

    Without a KL term in the loss, rows of zero advantage (most rows of hard problems) have no gradient. They are sorted
    to the end, and micro-batches of them alone are skipped, with the same result. The other rows are sorted by the
    smallest of `settings.bucket_tokens` that fits their completion, and each micro-batch is cut to its bucket.

    Args:
      is_batched: whether this runs under vmap.
    """
    # Adds the gradient of each layer to the total in place, so that no micro-batch's gradient is stored. JAX supports
    # this for scanned layers, but not under vmap, nor where some of the layers' weights are frozen.
    in_place = frozen_base is None and decoder.scans_layers(model) and not is_batched
    num_rows = batch.advantages.shape[0]
    size = min(rows_per_micro_batch, num_rows)
    widths = completion_widths(settings.bucket_tokens, batch.rollouts.tokens.shape[1])
    batch, bucket = _sort_rows(batch, widths, uses_kl=settings.kl_coef > 0, size=size)
    reference_params = None if reference is None else decoder_params(reference, frozen_base, model)
    trained = _to_compute_params(weights, model) if frozen_base is None else weights

    def loss(trained: Params, micro: TrainBatch) -> tuple[jax.Array, Mismatch]:
        params = trained if frozen_base is None else decoder_params(trained, frozen_base, model)
        return policy_gradient_loss(params, micro, reference=reference_params, model=model, settings=settings)

    def add_micro_batch(
        width: int, index: jax.Array, total: tuple[jax.Array, Mismatch, Params]
    ) -> tuple[jax.Array, Mismatch, Params]:
        micro = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * size, size), batch)
        micro = _cut(micro, width)
        value, pull_back, mismatch = jax.vjp(lambda trained: loss(trained, micro), trained, has_aux=True)
        if in_place:
            gradient = _add_in_place(total[2], pull_back, 1 / num_rows)
        else:
            gradient = jax.tree.map(jnp.add, total[2], *pull_back(jnp.float32(1 / num_rows)))
        mismatch = jax.tree.map(jnp.add, total[1], mismatch)
        return total[0] + value / num_rows, mismatch, layout.to_storage_sharding(gradient, model)

    total, begin = (jnp.float32(0), Mismatch.zero(), jax.tree.map(jnp.zeros_like, weights)), jnp.int32(0)
    for index, width in enumerate(widths):
        num_fitting = jnp.sum(bucket <= index)  # rows; a micro-batch with a wider row too goes to the next width
        end = num_fitting // size if width < widths[-1] else (num_fitting + size - 1) // size
        total = jax.lax.fori_loop(begin, end, functools.partial(add_micro_batch, width), total)
        begin = end
    return total


def _sort_rows(batch: TrainBatch, widths: tuple[int, ...], uses_kl: bool, size: int) -> tuple[TrainBatch, jax.Array]:
    """Sorts rows by bucket and pads them with empty rows to a multiple of `size`.

    Returns:
      The sorted batch; and each row's bucket before sorting, [B] int32: an index of `widths`, or their number for a row
      without a gradient.
    """
    active = (batch.advantages != 0) | uses_kl
    bucket = jnp.where(active, jnp.searchsorted(jnp.array(widths), batch.rollouts.lengths), len(widths))
    order = jnp.argsort(bucket, stable=True)
    batch = jax.tree.map(lambda leaf: leaf[order], batch)
    padding = -batch.advantages.shape[0] % size  # empty rows have no completion token, so no loss
    batch = jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, padding), *((0, 0),) * (leaf.ndim - 1))), batch)
    return batch, bucket


def _cut(batch: TrainBatch, width: int) -> TrainBatch:
    """Cuts completions to `width` tokens."""
    rollouts = batch.rollouts
    tokens, logprobs = rollouts.tokens[:, :width], rollouts.sampler_logprobs[:, :width]
    return dataclasses.replace(batch, rollouts=dataclasses.replace(rollouts, tokens=tokens, sampler_logprobs=logprobs))


def _to_compute_params(weights: Params, model: ModelConfig) -> Params:
    """Casts and all-gathers the parameters outside of the layers, once per update; each layer is gathered where used.

    The embedding is only cast: lookups work on its shards, and only tied logits need all of it.
    """
    top = cast_params({name: leaf for name, leaf in weights.items() if name != "layers"}, model.dtype)
    embedding = {"embedding": top.pop("embedding")}
    return layout.to_compute_sharding(top, model) | embedding | {"layers": weights["layers"]}


def _add_in_place(total: Params, pull_back: Any, scale: float) -> Params:
    """Returns `total` plus `scale` times the gradient of `pull_back` (from jax.vjp), layers added in place."""
    layers = jax.tree.map(jax.new_ref, total["layers"])
    value = jax.ad.GradValue()  # type: ignore[attr-defined]
    wanted = jax.tree.map(lambda _: value, total) | {"layers": layers}
    (gradient,) = pull_back.with_refs(wanted)(jnp.float32(scale))
    rest = {name: jax.tree.map(jnp.add, leaf, gradient[name]) for name, leaf in total.items() if name != "layers"}
    return rest | {"layers": jax.tree.map(jax.freeze, layers)}
