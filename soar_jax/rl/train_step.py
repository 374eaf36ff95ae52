"""One policy-gradient update as a pure function: (state, batch) -> (state, metrics)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from soar_jax.model import decoder, layout
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.rl.losses import LossSettings, completion_widths, policy_gradient_loss
from soar_jax.types import TrainBatch


@flax.struct.dataclass(kw_only=True)
class TrainState:
    """A policy and its optimiser."""

    weights: Params  # float32; all of a model, or adapters
    opt_state: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Adam with gradients clipped by their global norm."""

    learning_rate: float
    b1: float
    b2: float
    eps: float
    max_grad_norm: float


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
    """The optax optimiser of the settings."""
    return optax.chain(
        optax.clip_by_global_norm(settings.max_grad_norm),
        optax.adam(settings.learning_rate, b1=settings.b1, b2=settings.b2, eps=settings.eps),
    )


def init_train_state(weights: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """A policy with a fresh optimiser."""
    return TrainState(weights=weights, opt_state=optimizer.init(weights))


def accumulated_gradient(
    weights: Params,
    batch: TrainBatch,
    reference: Params | None,
    frozen: FrozenBase | None,
    model: ModelConfig,
    settings: LossSettings,
    rows_per_micro_batch: int,
    is_batched: bool = False,
) -> tuple[jax.Array, Params]:
    """Loss (mean over the B rows) and its gradient, a micro-batch at a time.

    A row of zero advantage has no gradient (unless there is a KL term), so such rows are
    moved to the end and the micro-batches that hold nothing else are skipped: the result
    is the same, and most rows of a hard problem's group are such rows. The others are sorted by
    the smallest of `settings.bucket_tokens` that holds their completion, to which a
    micro-batch is then cut.

    Args:
      is_batched: whether this runs under vmap.
    """
    # A micro-batch's gradient of the layers is added to the total where it lies, a layer at a time, and never held by
    # itself. JAX can do so where layers are scanned, not under vmap, and not where a part of them is frozen.
    in_place = frozen is None and decoder.scans_layers(model) and not is_batched
    num_rows = batch.advantages.shape[0]
    size = min(rows_per_micro_batch, num_rows)
    active = (batch.advantages != 0) | (settings.kl_coef > 0)
    widths = completion_widths(settings.bucket_tokens, batch.rollouts.tokens.shape[1])
    bucket = jnp.where(active, jnp.searchsorted(jnp.array(widths), batch.rollouts.lengths), len(widths))
    order = jnp.argsort(bucket, stable=True)
    batch = jax.tree.map(lambda leaf: leaf[order], batch)
    padding = -num_rows % size  # empty rows: no completion token, so no loss
    batch = jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, padding), *((0, 0),) * (leaf.ndim - 1))), batch)

    fixed = None if reference is None else decoder_params(reference, frozen, model)

    trained = weights if frozen else _laid_out(weights, model)

    def loss(trained: Params, micro: TrainBatch) -> jax.Array:
        params = decoder_params(trained, frozen, model) if frozen else trained
        return policy_gradient_loss(params, micro, reference=fixed, model=model, settings=settings)

    def add_micro_batch(width: int, index: jax.Array, total: tuple[jax.Array, Params]) -> tuple[jax.Array, Params]:
        micro = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * size, size), batch)
        micro = _cut(micro, width)
        value, pull_back = jax.vjp(lambda trained: loss(trained, micro), trained)
        if in_place:
            gradient = _added_in_place(total[1], pull_back, 1 / num_rows)
        else:
            gradient = jax.tree.map(jnp.add, total[1], *pull_back(jnp.float32(1 / num_rows)))
        return total[0] + value / num_rows, layout.to_storage_sharding(gradient, model)

    total, begin = (jnp.float32(0), jax.tree.map(jnp.zeros_like, weights)), jnp.int32(0)
    for place, width in enumerate(widths):
        num_held = jnp.sum(bucket <= place)  # rows; a micro-batch that holds a wider one too is left to the next width
        end = num_held // size if width < widths[-1] else (num_held + size - 1) // size
        total = jax.lax.fori_loop(begin, end, functools.partial(add_micro_batch, width), total)
        begin = end
    return total


def _cut(batch: TrainBatch, width: int) -> TrainBatch:
    """The batch with `width` completion slots a row."""
    rollouts = batch.rollouts
    tokens, logprobs = rollouts.tokens[:, :width], rollouts.sampler_logprobs[:, :width]
    return dataclasses.replace(batch, rollouts=dataclasses.replace(rollouts, tokens=tokens, sampler_logprobs=logprobs))


def _laid_out(weights: Params, model: ModelConfig) -> Params:
    """A whole model as it is computed with, cast and gathered once; but layers as they are, each where it is used.

    An embedding is cast alone: it is looked up in where it lies, and only logits, where they share it, need it whole.
    """
    top = {name: leaf.astype(model.dtype) for name, leaf in weights.items() if name != "layers"}
    embedding = {"embedding": top.pop("embedding")}
    return layout.to_compute_sharding(top, model) | embedding | {"layers": weights["layers"]}


def _added_in_place(total: Params, pull_back: Any, scale: float) -> Params:
    """`total` plus `scale` times the gradient that `pull_back` (of jax.vjp) gives."""
    layers = jax.tree.map(jax.new_ref, total["layers"])
    value = jax.ad.GradValue()  # type: ignore[attr-defined]
    wanted = jax.tree.map(lambda _: value, total) | {"layers": layers}
    (gradient,) = pull_back.with_refs(wanted)(jnp.float32(scale))
    rest = {name: jax.tree.map(jnp.add, leaf, gradient[name]) for name, leaf in total.items() if name != "layers"}
    return rest | {"layers": jax.tree.map(jax.freeze, layers)}


def apply_gradient(
    state: TrainState, optimizer: optax.GradientTransformation, gradient: Params
) -> tuple[TrainState, jax.Array]:
    """One optimiser step; the new state, and the gradient's global norm before clipping ([] float32)."""
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.weights)
    return TrainState(weights=optax.apply_updates(state.weights, updates), opt_state=opt_state), optax.tree.norm(
        gradient
    )
