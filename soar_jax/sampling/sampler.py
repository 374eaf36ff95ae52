"""The sampler: token-id prompts in, token-id completions and their log-probabilities out.

Each prompt is prefilled once and its KV cache copied to each of its rows. Rows are decoded in a fixed number of slots.
An inner `lax.while_loop` decodes one token per slot and turn; once enough slots are free, an outer loop fills them with
waiting rows, so that a few long rows do not block the rest. When no row waits and half of the slots are free, the
remaining rows move to half as many slots. A row's draws depend only on its own key and token count, never on the rest
of the batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from soar_jax.integers import ceil_div
from soar_jax.model import decoder
from soar_jax.model.config import ModelConfig
from soar_jax.model.kv_cache import KVCache
from soar_jax.model.parameters import Params
from soar_jax.sampling import ring
from soar_jax.types import PromptBatch, RolloutBatch

_SLOTS_OF_ONE_ROW = 2  # with one slot, XLA's CPU backend copies the whole cache in every step
MIN_SLOTS = 8  # with fewer a step does little but read the weights
# Of the slots; each is one more loop to compile. Twice as many make the plan of a 3B run 1% shorter.
_MAX_HALVINGS = 2
_REFILL_DIVISOR = 8  # slots are refilled when 1 / 8 of them are free


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How completions are sampled (hashable: a static jit argument)."""

    max_completion_tokens: int  # C
    temperature: float  # 0 is greedy
    top_p: float  # 1 keeps the whole distribution
    stop_ids: tuple[int, ...]
    pad_id: int


class _State(NamedTuple):
    step: jax.Array  # [] int32, decoding steps done
    next_row: jax.Array  # [] int32, first row that has not started
    row: jax.Array  # [S] int32, row in each slot; R in a free slot
    start_step: jax.Array  # [S] int32, step at which the slot's row read its first token
    token: jax.Array  # [S] int32, the row's last token, input of the next step
    tokens: jax.Array  # [R, C] int32
    logprobs: jax.Array  # [R, C] float32
    cache: ring.Cache


def filtered_logits(logits: jax.Array, settings: SamplingSettings) -> jax.Array:
    """Logits [..., V] of the sampling distribution: divided by the temperature, cut to the nucleus.

    The nucleus is the smallest set of most likely tokens whose mass reaches `top_p`.
    """
    logits = logits / settings.temperature
    if settings.top_p == 1.0:
        return logits
    descending = jnp.sort(logits, axis=-1, descending=True)
    mass_before = jnp.cumsum(jax.nn.softmax(descending), axis=-1) - jax.nn.softmax(descending)
    smallest_kept = jnp.min(jnp.where(mass_before < settings.top_p, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= smallest_kept, logits, -jnp.inf)


def draw_tokens(logits: jax.Array, keys: jax.Array, settings: SamplingSettings) -> tuple[jax.Array, jax.Array]:
    """Samples tokens [S] int32 and their log-probabilities [S] float32 from logits [S, V] with keys [S].

    Greedy sampling has one outcome, of log-probability 0.
    """
    if settings.temperature == 0:
        tokens = _argmax(logits)
        return tokens, jnp.zeros(tokens.shape, jnp.float32)
    logits = filtered_logits(logits, settings)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:]))(keys)
    tokens = _argmax(logits + noise)
    return tokens, decoder.select_logits(logits, tokens) - jax.nn.logsumexp(logits, axis=-1)


def _argmax(logits: jax.Array) -> jax.Array:
    """Argmax [S] over the vocabulary of logits [S, V]; ties go to the lowest id.

    Uses two plain reductions: `jnp.argmax` reduces (value, index) pairs, which the CPU backend does not vectorise.
    """
    last = logits.shape[-1] - 1  # the result where a NaN makes the maximum NaN
    is_largest = logits == jnp.max(logits, axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_largest, jnp.arange(last + 1, dtype=jnp.int32), last), axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Decoding:
    """Decodes R rows in S slots; its fields are constant during decoding."""

    params: Params
    model: ModelConfig
    settings: SamplingSettings
    prompts: PromptBatch  # [Q]
    prompt_cache: ring.Cache  # [Q, ...]
    first_logits: jax.Array  # [Q, V] float32
    prompt_of: jax.Array  # [R] int32, prompt index of each row
    keys: jax.Array  # [R]
    num_rows: jax.Array  # [] int32, rows to decode; those from here to R are padding
    vmap_axis_name: str | None  # a vmapped axis whose members share one loop

    def initial_state(self, num_slots: int, ring_sizes: tuple[int, ...]) -> _State:
        """State with all slots free and all rows waiting."""
        free = jnp.full(num_slots, self.keys.size, jnp.int32)
        shape = (self.keys.size, self.settings.max_completion_tokens)
        return _State(
            step=jnp.int32(0),
            next_row=jnp.int32(0),
            row=free,
            start_step=jnp.zeros_like(free),
            token=jnp.zeros_like(free),
            tokens=jnp.full(shape, self.settings.pad_id, jnp.int32),
            logprobs=jnp.zeros(shape, jnp.float32),
            cache=ring.empty(self.prompt_cache, num_slots, ring_sizes[0], widest=ring_sizes[-1]),
        )

    def fill(self, state: _State) -> _State:
        """Starts waiting rows in the free slots and draws their first tokens."""
        is_free = ~self._is_live(state)
        row = state.next_row + jnp.cumsum(is_free) - 1
        starts = is_free & (row < self.num_rows)
        row = jnp.where(starts, row, state.row)
        prompt = self._gather(self.prompt_of, row)
        state = state._replace(
            next_row=state.next_row + jnp.sum(starts),
            row=row,
            start_step=jnp.where(starts, state.step, state.start_step),
            cache=ring.write_prompts(state.cache, self.prompt_cache, prompts=prompt, starts=starts),
        )
        return self._append(state, self.first_logits[prompt], draws=starts, count=jnp.zeros_like(row))

    def advance(self, state: _State, ring_size: int) -> _State:
        """Runs one decoding step: reads each live row's last token and draws its next."""
        lengths = self.prompts.lengths[self._gather(self.prompt_of, state.row)]
        age = state.step - state.start_step
        num_prompt_slots = self.prompts.tokens.shape[1]
        key_valid, key_positions = ring.attention_mask(
            state.step, state.start_step, lengths, num_prompt_slots=num_prompt_slots, ring_size=ring_size
        )
        hidden, cache = decoder.hidden_states(
            self.params,
            self.model,
            tokens=state.token[:, None],
            positions=(lengths + age)[:, None],
            key_valid=key_valid,
            cache=state.cache,
            first_slot=num_prompt_slots + state.step % ring_size,
            key_positions=key_positions,
        )
        logits = decoder.logits(self.params, self.model, hidden[:, 0])
        state = state._replace(step=state.step + 1, cache=cast(ring.Cache, cache))
        return self._append(state, logits, draws=self._is_live(state), count=age + 1)

    def _append(self, state: _State, logits: jax.Array, draws: jax.Array, count: jax.Array) -> _State:
        """Appends a token to each row that draws and has `count` tokens; frees the slots of complete rows."""
        keys = jax.vmap(jax.random.fold_in)(self._gather(self.keys, state.row), count)
        token, logprob = draw_tokens(logits, keys, self.settings)
        row = jnp.where(draws, state.row, self.keys.size)  # out of bounds: the write is dropped
        is_last = jnp.isin(token, jnp.array(self.settings.stop_ids, jnp.int32))
        is_last |= count + 1 == self.settings.max_completion_tokens
        return state._replace(
            row=jnp.where(draws & is_last, self.keys.size, state.row),
            token=jnp.where(draws, token, state.token),
            tokens=state.tokens.at[row, count].set(token, mode="drop"),
            logprobs=state.logprobs.at[row, count].set(logprob, mode="drop"),
        )

    def decode(self, state: _State, ring_size: int, keep_going: Callable[[_State], jax.Array]) -> _State:
        """Decodes in a ring of `ring_size` slots until all rows are complete or `keep_going` is false."""

        def fill_and_advance(state: _State) -> _State:
            return jax.lax.while_loop(
                lambda state: ~self.should_fill(state) & keep_going(state),
                lambda state: self.advance(state, ring_size),
                self.fill(state),
            )

        return jax.lax.while_loop(lambda state: self.is_unfinished(state) & keep_going(state), fill_and_advance, state)

    def is_unfinished(self, state: _State) -> jax.Array:
        """True while rows wait or are live."""
        return self._any(self._is_live(state).any() | (state.next_row < self.num_rows))

    def fits_in_ring(self, state: _State, ring_size: int) -> jax.Array:
        """True while no live row has filled the ring."""
        return ~self._any((self._is_live(state) & (state.step - state.start_step >= ring_size)).any())

    def needs_slots(self, state: _State, num_slots: int) -> jax.Array:
        """True while rows wait or more than `num_slots` are live."""
        num_live = jnp.sum(self._is_live(state))
        return self._any((state.next_row < self.num_rows) | (num_live > num_slots))

    def should_fill(self, state: _State) -> jax.Array:
        """True when so many slots are free that filling them is worth the copy of the prompts' caches."""
        is_live = self._is_live(state)
        num_free = is_live.size - jnp.sum(is_live)
        many_free = (num_free * _REFILL_DIVISOR >= is_live.size) & (state.next_row < self.num_rows)
        return self._any(many_free) | ~self._any(is_live.any())

    def compact(self, state: _State, num_slots: int) -> _State:
        """Moves the live rows, at most `num_slots`, to a state with that many slots."""
        kept = jnp.argsort(~self._is_live(state))[:num_slots]
        return state._replace(
            row=state.row[kept],
            start_step=state.start_step[kept],
            token=state.token[kept],
            cache=ring.take_rows(state.cache, kept),
        )

    def _is_live(self, state: _State) -> jax.Array:
        return state.row < self.keys.size

    def _gather(self, values: jax.Array, row: jax.Array) -> jax.Array:
        """Values of rows; those of free slots are arbitrary."""
        return values[jnp.minimum(row, self.keys.size - 1)]

    def _any(self, condition: jax.Array) -> jax.Array:
        """ORs a loop condition over the vmapped axis."""
        if self.vmap_axis_name is None:
            return condition
        return jax.lax.pmax(condition.astype(jnp.int32), self.vmap_axis_name) > 0


def _decode(rows: _Decoding, num_slots: int) -> _State:
    """Decodes all rows: first in a ring that widens, then in the widest ring with fewer and fewer slots."""
    ring_sizes = ring.sizes(rows.settings.max_completion_tokens - 1)  # a row's last token is never read
    state = rows.initial_state(num_slots, ring_sizes)
    for ring_size in ring_sizes[:-1]:
        state = rows.decode(state, ring_size, functools.partial(rows.fits_in_ring, ring_size=ring_size))
        state = state._replace(cache=ring.widen(state.cache, rows.prompts.tokens.shape[1]))
    for fewer in slot_schedule(num_slots, rows.settings.max_completion_tokens):
        state = rows.decode(state, ring_sizes[-1], functools.partial(rows.needs_slots, num_slots=fewer))
        state = rows.compact(state, fewer)
    return rows.decode(state, ring_sizes[-1], lambda _: jnp.bool_(True))


def slot_schedule(num_slots: int, max_completion_tokens: int) -> tuple[int, ...]:
    """Descending slot counts for the last rows, each half of the one before; empty for short completions."""
    if len(ring.sizes(max_completion_tokens - 1)) == 1:
        return ()
    halves = [ceil_div(num_slots, 2**power) for power in range(1, _MAX_HALVINGS + 1)]
    return tuple(half for half in halves if half >= MIN_SLOTS)


def _prefill(params: Params, prompts: PromptBatch, model: ModelConfig) -> tuple[ring.Cache, jax.Array]:
    """KV caches of the prompts, and the logits [Q, V] of the token after each."""
    slots = jnp.arange(prompts.tokens.shape[1])
    positions = jnp.broadcast_to(slots, prompts.tokens.shape)
    is_token = slots < prompts.lengths[:, None]
    hidden, cache = decoder.hidden_states(
        params, model, tokens=prompts.tokens, positions=positions, key_valid=is_token, keep_cache=True
    )
    prompt_cache = ring.of_prompts(cast(tuple[KVCache, ...] | KVCache, cache))
    if model.int8_cache:
        prompt_cache = ring.quantize(prompt_cache)
    last = jnp.take_along_axis(hidden, (prompts.lengths - 1)[:, None, None], axis=1)[:, 0]
    return prompt_cache, decoder.logits(params, model, last)


# Long, with many parameters: one draw from end to end; a record or helpers for parts of it would have one use each.
def sample(
    params: Params,
    prompts: PromptBatch,  # Q prompts
    key: jax.Array,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int = 1,
    first_prompt: jax.Array | int = 0,
    max_slots: int | None = None,
    shard_index: jax.Array | int = 0,
    num_shards: int = 1,
    vmap_axis_name: str | None = None,
) -> RolloutBatch:
    """Samples completions of every prompt, or one shard of them.

    Of R = Q * samples_per_prompt rows, row i is sample i % samples_per_prompt of prompt i // samples_per_prompt.

    Args:
      params: one policy.
      prompts: tokens [Q, T] int32, lengths [Q] int32.
      key: row keys are folded in from it.
      first_prompt: index of the first prompt in the complete draw, so that several calls draw the same as one.
      max_slots: maximum number of rows decoded at once; None is all.
      shard_index, num_shards: which of `num_shards` equal shards of the rows to sample; the last shard is padded with
        rows without tokens.
      vmap_axis_name: a vmapped axis whose members decode in one loop.

    Returns:
      The shard's ceil(R / num_shards) rollouts.
    """
    num_prompts, num_rows = prompts.lengths.shape[0], prompts.lengths.shape[0] * samples_per_prompt
    shard_rows = ceil_div(num_rows, num_shards)
    num_slots = min(max_slots or shard_rows, shard_rows)
    # A pass prefills its prompts at once, so it has at most as many prompts as slots.
    num_passes = ceil_div(shard_rows, num_slots * samples_per_prompt)
    pass_rows = ceil_div(shard_rows, num_passes)
    starts = [shard * shard_rows + index * pass_rows for shard in range(num_shards) for index in range(num_passes)]
    ends = [(start + pass_rows - 1) // samples_per_prompt + 1 for start in starts]
    span = max(end - start // samples_per_prompt for start, end in zip(starts, ends, strict=True))
    span = min(num_prompts, span)  # prompts of a pass
    params, prompts = decoder.decoding_params(params, model), jax.tree.map(jnp.asarray, prompts)

    def run_pass(index: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = shard_index * shard_rows + index * pass_rows
        end = jnp.minimum(jnp.minimum(start + pass_rows, (shard_index + 1) * shard_rows), num_rows)
        first = jnp.minimum(start // samples_per_prompt, num_prompts - span)
        pass_prompts = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, span), prompts)
        cache, first_logits = _prefill(params, pass_prompts, model)
        row = start + jnp.arange(pass_rows)
        rows = _Decoding(
            params=params,
            model=model,
            settings=settings,
            prompts=pass_prompts,
            prompt_cache=cache,
            first_logits=first_logits,
            keys=jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, first_prompt * samples_per_prompt + row),
            prompt_of=jnp.clip(row // samples_per_prompt - first, 0, span - 1),
            num_rows=end - start,
            vmap_axis_name=vmap_axis_name,
        )
        state = _decode(rows, _SLOTS_OF_ONE_ROW if pass_rows == 1 else min(num_slots, pass_rows))
        return state.tokens, state.logprobs

    drawn = jax.lax.map(run_pass, jnp.arange(num_passes))
    tokens, logprobs = (leaf.reshape(-1, settings.max_completion_tokens)[:shard_rows] for leaf in drawn)
    prompt_of = jnp.minimum((shard_index * shard_rows + jnp.arange(shard_rows)) // samples_per_prompt, num_prompts - 1)
    # Lengths come from the first stop token alone: the padding id may be a stop token too.
    is_stop = jnp.isin(tokens, jnp.array(settings.stop_ids, jnp.int32))
    lengths = jnp.where(is_stop.any(axis=1), jnp.argmax(is_stop, axis=1) + 1, tokens.shape[1]).astype(jnp.int32)
    return RolloutBatch(prompts=prompts, prompt_of=prompt_of, tokens=tokens, lengths=lengths, sampler_logprobs=logprobs)
