"""The gradient of one policy's loss, accumulated over micro-batches."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.model import layout
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.model.rounding import cast_params
from soar_jax.rl.losses import (
    Comparison,
    LossSettings,
    PromptStates,
    completion_widths,
    policy_gradient_loss,
    prompt_states,
)
from soar_jax.rl.micro_batches import MicroBatches
from soar_jax.types import TrainBatch


class Total(NamedTuple):
    """Sums over micro-batches."""

    loss: jax.Array  # [] float32, a mean over all rows at the end
    comparison: Comparison
    gradient: Params


# Many parameters: those of `train_step`.
def accumulated_gradient(
    weights: Params,
    batch: TrainBatch,
    frozen_base: FrozenBase | None,
    model: ModelConfig,
    settings: LossSettings,
    rows_per_micro_batch: int,
    is_batched: bool = False,
) -> Total:
    """Loss (mean over the B rows), comparison with sampler and reference, and gradient.

    Each prompt is computed once. A chunk of prompts goes forward; its rows read their keys and values a micro-batch at
    a time; and the sum of the gradients that these have for the prompts' states goes backward.

    Without a KL term in the loss, rows of zero advantage (most rows of hard problems) have no gradient. Micro-batches
    and chunks of them alone are skipped, with the same result.

    Args:
      is_batched: whether this runs under vmap.
    """
    policy = _Policy(
        trained=_to_compute_params(weights, model) if frozen_base is None else weights,
        frozen_base=frozen_base,
        model=model,
        settings=settings,
        # JAX supports this for scanned layers, but not under vmap, nor where some of the layers' weights are frozen.
        adds_in_place=frozen_base is None and model.scans_layers and not is_batched,
    )
    rows = MicroBatches.sort(
        batch,
        completion_widths(settings.completion_buckets, batch.rollouts.tokens.shape[1]),
        uses_kl=settings.kl_coef > 0,
        rows_per_micro_batch=rows_per_micro_batch,
    )
    zero = Total(jnp.float32(0), Comparison.zero(), jax.tree.map(jnp.zeros_like, weights))
    add_chunk = functools.partial(_add_chunk, policy, rows, 1 / batch.advantages.shape[0])
    return jax.lax.fori_loop(0, rows.num_active, add_chunk, zero)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Policy:
    """The policy that is trained."""

    trained: Params  # what the gradient is taken of: compute parameters, or adapters
    frozen_base: FrozenBase | None
    model: ModelConfig
    settings: LossSettings
    # Whether the gradient of each layer is added to the total in place, so that no micro-batch's gradient is stored.
    adds_in_place: bool

    def params(self, trained: Params) -> Params:
        """Decoder parameters of what is trained."""
        return trained if self.frozen_base is None else decoder_params(trained, self.frozen_base, self.model)

    def add_gradient(self, total: Params, pull_back: Any, cotangent: Any, *others: Any) -> tuple[Params, Any]:
        """Adds the gradient of the weights to `total`; returns with it those of other arguments, shaped as `others`."""
        if self.adds_in_place:
            total, of_others = _add_in_place(total, pull_back, cotangent, *others)
        else:
            gradient, *of_others = pull_back(cotangent)
            total = jax.tree.map(jnp.add, total, gradient)
        return layout.to_storage_sharding(total, self.model), of_others


def _add_chunk(policy: _Policy, rows: MicroBatches, scale: float, chunk: jax.Array, total: Total) -> Total:
    """Adds the rows of a chunk of prompts, each row times `scale`."""
    settings = policy.settings
    prompts = rows.prompts(chunk)
    states, pull_back = jax.vjp(
        lambda trained: prompt_states(policy.params(trained), policy.model, prompts, remat=settings.remat),
        policy.trained,
    )

    def add_micro_batch(width: int, index: jax.Array, carry: tuple[Total, PromptStates]) -> tuple[Total, PromptStates]:
        total, gradient_of_states = carry
        micro = rows.micro_batch(chunk, index, width)

        def loss(trained: Params, states: PromptStates) -> tuple[jax.Array, Comparison]:
            return policy_gradient_loss(
                policy.params(trained), micro, model=policy.model, settings=settings, states=states
            )

        value, pull_back, comparison = jax.vjp(loss, policy.trained, states, has_aux=True)
        gradient, (of_states,) = policy.add_gradient(total.gradient, pull_back, jnp.float32(scale), states)
        total = Total(total.loss + value * scale, jax.tree.map(jnp.add, total.comparison, comparison), gradient)
        return total, jax.tree.map(lambda total, leaf: total + leaf.astype(total.dtype), gradient_of_states, of_states)

    carry = total, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), states)
    for width, begin, end in rows.ranges(chunk):
        carry = jax.lax.fori_loop(begin, end, functools.partial(add_micro_batch, width), carry)
    total, gradient_of_states = carry
    cotangent = jax.tree.map(lambda leaf, state: leaf.astype(state.dtype), gradient_of_states, states)
    gradient, _ = policy.add_gradient(total.gradient, pull_back, cotangent)
    return total._replace(gradient=gradient)


def _to_compute_params(weights: Params, model: ModelConfig) -> Params:
    """Casts and all-gathers the parameters outside of the layers, once per update; each layer is gathered where used.

    The embedding is only cast: lookups work on its shards, and only tied logits need all of it.
    """
    top = cast_params({name: leaf for name, leaf in weights.items() if name != "layers"}, model.dtype)
    embedding = {"embedding": top.pop("embedding")}
    return layout.to_compute_sharding(top, model) | embedding | {"layers": weights["layers"]}


def _add_in_place(total: Params, pull_back: Any, cotangent: Any, *others: Any) -> tuple[Params, Any]:
    """As `_Policy.add_gradient`, without its sharding: `pull_back` (from jax.vjp) adds to the layers in place."""
    layers = jax.tree.map(jax.new_ref, total["layers"])
    value = jax.ad.GradValue()  # type: ignore[attr-defined]
    wanted, *wanted_others = jax.tree.map(lambda _: value, (total, *others))
    gradient, *of_others = pull_back.with_refs(wanted | {"layers": layers}, *wanted_others)(cotangent)
    rest = {name: jax.tree.map(jnp.add, leaf, gradient[name]) for name, leaf in total.items() if name != "layers"}
    return rest | {"layers": jax.tree.map(jax.freeze, layers)}, of_others
