"""Log-probabilities of sampled tokens and the policy-gradient loss over them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.integers import ceil_div
from soar_jax.model import decoder
from soar_jax.model.config import ModelConfig
from soar_jax.model.decoder import LayerCaches
from soar_jax.model.parameters import Params
from soar_jax.parallel.sharding import num_row_shards, per_row, take_rows
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossSettings:
    """The policy-gradient loss (hashable: a static jit argument)."""

    temperature: float  # the sampler's, so that the trained distribution is the sampled one
    clip_ratio: float  # epsilon of the clipped surrogate; 0 is plain on-policy RLOO
    kl_coef: float  # weight of the KL term to the reference policy; 0 is off
    chunk_tokens: int  # tokens whose full-vocabulary logits are in memory at once
    importance_cap: float = 0.0  # largest importance weight of the plain loss; 0 is off
    remat: str = "none"  # of decoder.REMAT_POLICIES: what layers save for the backward pass
    completion_buckets: int = 1  # padded lengths of completions in training


def completion_widths(num_buckets: int, limit: int) -> tuple[int, ...]:
    """Padded completion lengths in tokens, ascending: at most `num_buckets`, evenly spaced, the last at the limit."""
    num_buckets = min(num_buckets, limit)
    return tuple(ceil_div(limit * bucket, num_buckets) for bucket in range(1, num_buckets + 1))


def completion_mask(rollouts: RolloutBatch) -> jax.Array:
    """Mask of completion tokens, including the stop token: [B, C] float32."""
    slots = jnp.arange(rollouts.tokens.shape[1])
    return (slots < rollouts.lengths[:, None]).astype(jnp.float32)


class PromptStates(NamedTuple):
    """What a policy computes of Q prompts, once for all their completions."""

    cache: LayerCaches  # of T slots
    last_hidden: jax.Array  # [Q, D] at the prompts' last tokens


def prompt_states(params: Params, model: ModelConfig, prompts: PromptBatch, *, remat: str = "none") -> PromptStates:
    """Computes keys, values and last hidden states of prompts."""
    num_prompts = prompts.lengths.shape[0]
    padding = -num_prompts % num_row_shards()  # or each device would compute all
    tokens, lengths = (
        jnp.pad(leaf, ((0, padding), *((0, 0),) * (leaf.ndim - 1)), mode="edge")
        for leaf in (prompts.tokens, prompts.lengths)
    )
    slots = jnp.arange(tokens.shape[1])
    hidden, cache = decoder.hidden_states(
        params,
        model,
        tokens=tokens,
        positions=jnp.broadcast_to(slots, tokens.shape),
        key_valid=slots < lengths[:, None],
        keep_cache=True,
        remat=remat,
    )
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    return PromptStates(cache, last[:num_prompts])


def completion_hidden(
    params: Params, model: ModelConfig, rollouts: RolloutBatch, *, states: PromptStates, remat: str = "none"
) -> jax.Array:
    """Hidden states [B, C, D] that predict the completion tokens, the first of them at the prompt's last token.

    Args:
      states: of the rollouts' prompts, by the same policy.
    """
    num_prompt_slots, tokens = rollouts.prompts.tokens.shape[1], rollouts.tokens[:, :-1]
    prompt_lengths = take_rows(rollouts.prompts.lengths, rollouts.prompt_of)
    first = take_rows(states.last_hidden, rollouts.prompt_of)[:, None]
    if not tokens.shape[1]:
        return first
    slots = jnp.arange(num_prompt_slots + tokens.shape[1])
    rest, _ = decoder.hidden_states(
        params,
        model,
        tokens=tokens,
        positions=prompt_lengths[:, None] + jnp.arange(tokens.shape[1]),
        key_valid=(slots < prompt_lengths[:, None]) | (slots >= num_prompt_slots),
        cache=states.cache,
        first_slot=num_prompt_slots,
        remat=remat,
        prompt_of=rollouts.prompt_of,
    )
    return jnp.concatenate([first, rest], axis=1)


# Many parameters: those of one forward pass and of its last product.
def policy_logprobs(
    params: Params,
    model: ModelConfig,
    rollouts: RolloutBatch,
    *,
    temperature: float,
    chunk_tokens: int,
    remat: str = "none",
    states: PromptStates | None = None,
) -> jax.Array:
    """Log-probabilities [B, C] float32 of the completion tokens under softmax(logits / temperature).

    Logits are computed `chunk_tokens` tokens at a time and recomputed in the backward pass, so that [B, C, V] is never
    stored. Values after a completion's end are not meaningful.

    Args:
      states: of the rollouts' prompts; None computes them.
    """
    if states is None:
        states = prompt_states(params, model, rollouts.prompts, remat=remat)
    hidden = completion_hidden(params, model, rollouts=rollouts, states=states, remat=remat)  # [B, C, D]
    num_rows = len(hidden)

    def shard_logprobs(unembedding: Params, hidden: jax.Array, tokens: jax.Array) -> jax.Array:
        return _token_logprobs(
            unembedding,
            model,
            hidden=hidden,
            tokens=tokens,
            temperature=temperature,
            chunk_tokens=chunk_tokens * len(tokens) // num_rows,
        )

    return per_row(shard_logprobs, decoder.unembedding_params(params, model), hidden, rollouts.tokens)


def _token_logprobs(
    unembedding: Params,
    model: ModelConfig,
    *,
    hidden: jax.Array,
    tokens: jax.Array,
    temperature: float,
    chunk_tokens: int,
) -> jax.Array:
    num_rows, num_slots = tokens.shape
    size = max(1, min(chunk_tokens // num_rows, num_slots))  # slots per chunk; every chunk has all rows
    padding = -num_slots % size

    @jax.checkpoint
    def chunk_logprobs(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, tokens = inputs  # [B, size, D], [B, size]
        logits = decoder.logits(unembedding, model, hidden) / temperature
        return decoder.select_logits(logits, tokens) - jax.nn.logsumexp(logits, axis=-1)

    def chunks(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (0, padding), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(num_rows, -1, size, *x.shape[2:]), 1, 0)

    logprobs = jax.lax.map(chunk_logprobs, (chunks(hidden), chunks(tokens)))  # [chunks, B, size]
    return jnp.moveaxis(logprobs, 0, 1).reshape(num_rows, -1)[:, :num_slots]


RATIO_BOUNDS = (0.001, 0.01, 0.05)  # distances of a token's ratio to 1 that tokens are counted within


class Comparison(NamedTuple):
    """Sums over trained tokens that compare the policy's log-probabilities with other ones; float32."""

    num_tokens: jax.Array  # []
    absolute: jax.Array  # [] |d| with d = policy's - sampler's
    k3: jax.Array  # [] exp(d) - d - 1: KL divergence of the sampler to the policy
    ratio_within: jax.Array  # [len(RATIO_BOUNDS)] tokens whose ratio exp(d) is no farther from 1
    reference_k3: jax.Array  # [] KL divergence of the policy to the reference; 0 without a KL term in the loss

    @staticmethod
    def zero() -> Comparison:
        """The sums over no tokens."""
        zero = jnp.float32(0)
        within = jnp.zeros(len(RATIO_BOUNDS), jnp.float32)
        return Comparison(num_tokens=zero, absolute=zero, k3=zero, ratio_within=within, reference_k3=zero)

    @staticmethod
    def of(logprobs: jax.Array, sampler_logprobs: jax.Array, mask: jax.Array, *, reference_k3: jax.Array) -> Comparison:
        """The sums over the tokens [B, C] where `mask` is 1."""
        difference = jax.lax.stop_gradient(logprobs - sampler_logprobs) * mask
        k3 = jnp.exp(difference) - difference - 1
        distance = jnp.abs(jnp.expm1(difference))
        within = jnp.stack([jnp.sum(jnp.where(distance <= bound, mask, 0)) for bound in RATIO_BOUNDS])
        return Comparison(
            num_tokens=jnp.sum(mask),
            absolute=jnp.sum(jnp.abs(difference)),
            k3=jnp.sum(k3),
            ratio_within=within,
            reference_k3=jnp.sum(reference_k3),
        )


def policy_gradient_loss(
    params: Params,
    batch: TrainBatch,
    *,
    model: ModelConfig,
    settings: LossSettings,
    states: PromptStates | None = None,
) -> tuple[jax.Array, Comparison]:
    """Policy-gradient loss summed over rows and tokens; callers divide the scalar by the row count.

    So a row's loss is the sum over its tokens, not their mean: its gradient is that of the advantage times the log-
    probability of the whole completion, and no constant stands in for the length.

    Plain: -w * A * logp (the gradient of REINFORCE with the advantages as given), w = 1 or, with `importance_cap`, the
    truncated importance weight min(rho, cap) without a gradient, rho = exp(logp - sampler_logp). It corrects for a
    sampler that computes the same policy with other rounding. Clipped: -min(rho * A, clip(rho, 1 - eps, 1 + eps) * A).
    KL: kl_coef * (exp(d) - d - 1) with d = ref_logp - logp, of each token (the k3 estimator), also of rows of zero
    advantage. Libraries differ here for RLOO: some subtract the k1 estimator of a completion from its reward instead,
    see `soar/reference_kl.py`; the loss has no KL term then.

    Args:
      batch: with `reference_logprobs` where `settings.kl_coef` > 0.
      states: of the batch's prompts, by the policy; None computes them.
    """
    mask = completion_mask(batch.rollouts)
    logprobs = policy_logprobs(
        params,
        model,
        batch.rollouts,
        temperature=settings.temperature,
        chunk_tokens=settings.chunk_tokens,
        remat=settings.remat,
        states=states,
    )
    advantages = batch.advantages[:, None]
    if settings.clip_ratio > 0:
        ratio = jnp.exp(logprobs - batch.rollouts.sampler_logprobs)
        clipped = jnp.clip(ratio, 1 - settings.clip_ratio, 1 + settings.clip_ratio)
        per_token = -jnp.minimum(ratio * advantages, clipped * advantages)
    else:
        per_token = -_importance_weights(logprobs, batch, mask, settings=settings) * advantages * logprobs
    reference_k3 = jnp.zeros_like(mask)
    if settings.kl_coef > 0:
        assert batch.reference_logprobs is not None
        difference = (batch.reference_logprobs - logprobs) * mask  # masked first: exp of padding could overflow
        reference_k3 = jnp.exp(difference) - difference - 1
        per_token = per_token + settings.kl_coef * reference_k3
    comparison = Comparison.of(
        logprobs, batch.rollouts.sampler_logprobs, mask, reference_k3=jax.lax.stop_gradient(reference_k3)
    )
    return jnp.sum(per_token * mask), comparison


def _importance_weights(
    logprobs: jax.Array, batch: TrainBatch, mask: jax.Array, *, settings: LossSettings
) -> jax.Array | float:
    """Truncated importance weights [B, C] of tokens, constants; exactly 1 without a cap."""
    if settings.importance_cap == 0:
        return 1.0
    difference = jax.lax.stop_gradient(logprobs - batch.rollouts.sampler_logprobs) * mask
    return jnp.minimum(jnp.exp(difference), settings.importance_cap)
