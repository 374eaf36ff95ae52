"""The jitted sampler: prompts in, completions and their log-probabilities out, all as token ids.

A prompt is prefilled once and its cache repeated for its samples; then one
`lax.while_loop` decodes a token a row a turn and ends when every row is done. A row's
draws depend on its own key and its own token count alone, never on what else is in
the batch.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.model import decoder
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.types import PromptBatch, RolloutBatch


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn (hashable: a static jit argument)."""

    max_completion_tokens: int  # C
    temperature: float  # 0 is greedy
    top_p: float  # 1 keeps the whole distribution
    stop_ids: tuple[int, ...]
    pad_id: int


class _State(NamedTuple):
    step: jax.Array  # [] int32, tokens drawn so far
    tokens: jax.Array  # [R, C] int32
    logprobs: jax.Array  # [R, C] float32
    done: jax.Array  # [R] bool
    cache: tuple[decoder.KVCache, ...]


def filtered_logits(logits: jax.Array, settings: SamplingSettings) -> jax.Array:
    """Logits [..., V] of the distribution that is sampled from: tempered, cut to the nucleus.

    The nucleus is the smallest set of most likely tokens whose mass reaches `top_p`.
    """
    logits = logits / settings.temperature
    if settings.top_p == 1.0:
        return logits
    descending = jnp.sort(logits, axis=-1, descending=True)
    mass_before = jnp.cumsum(jax.nn.softmax(descending), axis=-1) - jax.nn.softmax(descending)
    smallest_kept = jnp.min(jnp.where(mass_before < settings.top_p, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= smallest_kept, logits, -jnp.inf)


def _draw(
    logits: jax.Array, row_keys: jax.Array, step: jax.Array | int, settings: SamplingSettings
) -> tuple[jax.Array, jax.Array]:
    # logits [R, V] -> tokens [R], logprobs [R]. Greedy has one outcome: log-probability 0.
    if settings.temperature == 0:
        tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return tokens, jnp.zeros(tokens.shape, jnp.float32)
    logits = filtered_logits(logits, settings)
    step_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(row_keys, step)
    tokens = jax.vmap(jax.random.categorical)(step_keys, logits).astype(jnp.int32)
    return tokens, decoder.chosen(logits, tokens) - jax.nn.logsumexp(logits, axis=-1)


def sample(
    params: Params,
    prompts: PromptBatch,  # Q prompts
    key: jax.Array,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int = 1,
    first_prompt: jax.Array | int = 0,
) -> RolloutBatch:
    """Samples completions of every prompt.

    Row i of the result is sample i % samples_per_prompt of prompt i // samples_per_prompt.

    Args:
      params: one policy.
      prompts: tokens [Q, T] int32, lengths [Q] int32.
      key: the draw's key; row keys are folded in from it.
      first_prompt: number of the first prompt in the whole draw, so that a draw
        made in parts equals the draw made at once.

    Returns:
      R = Q * samples_per_prompt rollouts.
    """
    num_prompts, num_prompt_slots = prompts.tokens.shape
    num_rows = num_prompts * samples_per_prompt
    num_slots = num_prompt_slots + settings.max_completion_tokens - 1  # the last token is never read
    row_numbers = first_prompt * samples_per_prompt + jnp.arange(num_rows)
    row_keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, row_numbers)

    params = decoder.unstacked(params, model)
    prompt_positions = jnp.broadcast_to(jnp.arange(num_prompt_slots), prompts.tokens.shape)
    prompt_valid = jnp.arange(num_prompt_slots) < prompts.lengths[:, None]
    hidden, prompt_cache = decoder.hidden_states(
        params, model, prompts.tokens, prompt_positions, prompt_valid, keep_cache=True
    )
    last = jnp.take_along_axis(hidden, (prompts.lengths - 1)[:, None, None], axis=1)[:, 0]
    first_logits = decoder.logits(params, model, last)

    rollout_prompts = jax.tree.map(lambda leaf: jnp.repeat(leaf, samples_per_prompt, axis=0), prompts)
    tokens, logprobs = _draw(jnp.repeat(first_logits, samples_per_prompt, axis=0), row_keys, 0, settings)
    stop_ids = jnp.array(settings.stop_ids, jnp.int32)
    state = _State(
        step=jnp.int32(1),
        tokens=jnp.full((num_rows, settings.max_completion_tokens), settings.pad_id).at[:, 0].set(tokens),
        logprobs=jnp.zeros((num_rows, settings.max_completion_tokens)).at[:, 0].set(logprobs),
        done=jnp.isin(tokens, stop_ids),
        cache=decoder.grow_cache(prompt_cache, samples_per_prompt, settings.max_completion_tokens - 1),
    )
    slots = jnp.arange(num_slots)  # causality hides the completion slots that are still empty
    key_valid = (slots < rollout_prompts.lengths[:, None]) | (slots >= num_prompt_slots)  # [R, S]

    def advance(state: _State) -> _State:
        previous = jax.lax.dynamic_slice_in_dim(state.tokens, state.step - 1, 1, axis=1)
        slot = num_prompt_slots + state.step - 1
        positions = rollout_prompts.lengths[:, None] + state.step - 1
        hidden, cache = decoder.hidden_states(params, model, previous, positions, key_valid, state.cache, slot)
        tokens, logprobs = _draw(decoder.logits(params, model, hidden[:, 0]), row_keys, state.step, settings)
        tokens = jnp.where(state.done, settings.pad_id, tokens)
        logprobs = jnp.where(state.done, 0.0, logprobs)
        return _State(
            step=state.step + 1,
            tokens=jax.lax.dynamic_update_slice_in_dim(state.tokens, tokens[:, None], state.step, axis=1),
            logprobs=jax.lax.dynamic_update_slice_in_dim(state.logprobs, logprobs[:, None], state.step, axis=1),
            done=state.done | jnp.isin(tokens, stop_ids),
            cache=cache,
        )

    def unfinished(state: _State) -> jax.Array:
        return (state.step < settings.max_completion_tokens) & ~state.done.all()

    state = jax.lax.while_loop(unfinished, advance, state)
    return RolloutBatch(
        prompts=rollout_prompts,
        tokens=state.tokens,
        lengths=_lengths(state.tokens, stop_ids),
        sampler_logprobs=state.logprobs,
    )


def _lengths(tokens: jax.Array, stop_ids: jax.Array) -> jax.Array:
    # Padding may share its id with a stop token, so lengths come from the first stop token alone.
    is_stop = jnp.isin(tokens, stop_ids)
    return jnp.where(is_stop.any(axis=1), jnp.argmax(is_stop, axis=1) + 1, tokens.shape[1]).astype(jnp.int32)


def sample_in_chunks(
    params: Params,
    prompts: PromptBatch,
    key: jax.Array,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int,
    rows_per_chunk: int,
    first_prompt: jax.Array | int = 0,
) -> RolloutBatch:
    """`sample` in chunks of about `rows_per_chunk` rows: same result, less memory.

    A chunk also ends when its own rows are done, so short answers do not wait for the
    longest of the whole draw. A chunk holds whole prompts (at least one, with all its
    samples), as many as fit and divide the number of prompts.
    """
    num_prompts = prompts.tokens.shape[0]
    per_chunk = max(1, min(num_prompts, rows_per_chunk // samples_per_prompt))
    while num_prompts % per_chunk:  # the largest divisor that fits
        per_chunk -= 1
    num_chunks = num_prompts // per_chunk
    chunks = jax.tree.map(lambda leaf: leaf.reshape(num_chunks, per_chunk, *leaf.shape[1:]), prompts)

    def one_chunk(inputs: tuple[jax.Array, PromptBatch]) -> RolloutBatch:
        index, chunk = inputs
        start = first_prompt + index * per_chunk
        return sample(params, chunk, key, model, settings, samples_per_prompt, start)

    rollouts = jax.lax.map(one_chunk, (jnp.arange(num_chunks), chunks))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rollouts)
