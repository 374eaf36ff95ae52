"""Log-probabilities of completions under the reference policy of the KL divergence."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.parallel.sharding import constrain
from soar_jax.rl.losses import LossSettings, completion_mask, completion_widths, policy_logprobs, prompt_states
from soar_jax.rl.micro_batches import MicroBatches
from soar_jax.types import RolloutBatch, TrainBatch


def reference_logprobs(
    reference: Params, model: ModelConfig, rollouts: RolloutBatch, *, settings: LossSettings, rows_per_micro_batch: int
) -> jax.Array:
    """Log-probabilities [B, C] float32 of the completion tokens under the reference policy; 0 after a completion's end.

    Computed once for all updates of a batch, and as an update computes its own: each prompt once, rows cut to their
    bucket, a micro-batch at a time.
    """
    num_rows, limit = rollouts.tokens.shape
    rows = MicroBatches.sort(
        TrainBatch(rollouts=rollouts, advantages=jnp.zeros(num_rows)),
        completion_widths(settings.completion_buckets, limit),
        uses_kl=True,
        rows_per_micro_batch=rows_per_micro_batch,
    )

    def add_chunk(chunk: jax.Array, logprobs: jax.Array) -> jax.Array:
        states = prompt_states(reference, model, rows.prompts(chunk))

        def add_micro_batch(width: int, index: jax.Array, logprobs: jax.Array) -> jax.Array:
            found = policy_logprobs(
                reference,
                model,
                rows.micro_batch(chunk, index, width).rollouts,
                temperature=settings.temperature,
                chunk_tokens=settings.chunk_tokens,
                states=states,
            )
            # Rows of the next chunk are overwritten by theirs.
            return jax.lax.dynamic_update_slice(
                logprobs, constrain(found, None, None), (rows.start(chunk, index), jnp.int32(0))
            )

        for width, begin, end in rows.ranges(chunk):
            logprobs = jax.lax.fori_loop(begin, end, functools.partial(add_micro_batch, width), logprobs)
        return logprobs

    found = jax.lax.fori_loop(0, rows.num_active, add_chunk, jnp.zeros((num_rows + rows.size, limit)))
    return jnp.where(completion_mask(rollouts) > 0, rows.unsort(found), 0)
