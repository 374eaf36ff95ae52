"""The jitted sampler: prompts in, completions and their log-probabilities out, all as token ids.

A prompt is prefilled once and its cache copied to each of its rows. Rows are decoded in a fixed number of slots: one
`lax.while_loop` decodes a token a slot a turn, and when enough slots have finished, another gives them to rows that
wait, so that a few long rows do not hold the rest. When none waits any more and half of the slots are free, the rows
that are left go on in half as many. A row's draws depend on its own key and its own token count alone, never on what
else is in the batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from soar_jax.model import decoder, kv_cache
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.sampling import ring
from soar_jax.types import PromptBatch, RolloutBatch

_SHARE_TO_FILL = 8  # rows that wait begin when an eighth of the slots is free
_MOST_HALVINGS = 4  # of the slots; each is one more loop to compile
_FEWEST_SLOTS = 8  # with fewer a step does little but read the weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How completions are drawn (hashable: a static jit argument)."""

    max_completion_tokens: int  # C
    temperature: float  # 0 is greedy
    top_p: float  # 1 keeps the whole distribution
    stop_ids: tuple[int, ...]
    pad_id: int


class _State(NamedTuple):
    step: jax.Array  # [] int32, decoding steps made
    waiting: jax.Array  # [] int32, the first row that has not begun
    row: jax.Array  # [S] int32, the row in each slot; R in a free one
    begun: jax.Array  # [S] int32, the step at which the slot's row read its first token
    token: jax.Array  # [S] int32, the row's last token, which the next step reads
    tokens: jax.Array  # [R, C] int32
    logprobs: jax.Array  # [R, C] float32
    cache: ring.Cache


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


def _draw(logits: jax.Array, keys: jax.Array, settings: SamplingSettings) -> tuple[jax.Array, jax.Array]:
    # logits [S, V], keys [S] -> tokens [S], logprobs [S]. Greedy has one outcome: log-probability 0.
    if settings.temperature == 0:
        tokens = _likeliest(logits)
        return tokens, jnp.zeros(tokens.shape, jnp.float32)
    logits = filtered_logits(logits, settings)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:]))(keys)
    tokens = _likeliest(logits + noise)
    return tokens, decoder.select_logits(logits, tokens) - jax.nn.logsumexp(logits, axis=-1)


def _likeliest(logits: jax.Array) -> jax.Array:
    """The first [S] of the largest of logits [S, V].

    Two plain reductions: `jnp.argmax` carries value and index in one, which the CPU backend runs a number at a time.
    """
    last = logits.shape[-1] - 1  # where no number is the largest, since one is not a number
    is_largest = logits == jnp.max(logits, axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_largest, jnp.arange(last + 1, dtype=jnp.int32), last), axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Decoding:
    """Rows to decode: what stays the same while they are."""

    params: Params
    model: ModelConfig
    settings: SamplingSettings
    prompts: PromptBatch  # [Q]
    prompt_cache: ring.Cache  # [Q, ...]
    first_logits: jax.Array  # [Q, V] float32
    prompt_of: jax.Array  # [R] int32, each row's prompt
    keys: jax.Array  # [R] the rows' keys
    num_rows: jax.Array  # [] int32, how many of the R rows are wanted
    together: str | None  # a vmapped axis over which all turn in the same loop

    def start(self, num_slots: int, num_places: int) -> _State:
        """All slots free, all rows waiting."""
        free = jnp.full(num_slots, self.keys.size, jnp.int32)
        shape = (self.keys.size, self.settings.max_completion_tokens)
        return _State(
            step=jnp.int32(0),
            waiting=jnp.int32(0),
            row=free,
            begun=jnp.zeros_like(free),
            token=jnp.zeros_like(free),
            tokens=jnp.full(shape, self.settings.pad_id, jnp.int32),
            logprobs=jnp.zeros(shape, jnp.float32),
            cache=ring.empty(self.prompt_cache, num_slots, num_places),
        )

    def fill(self, state: _State) -> _State:
        """Rows that wait begin in the free slots, each with its first token."""
        is_free = ~self._is_live(state)
        row = state.waiting + jnp.cumsum(is_free) - 1
        begins = is_free & (row < self.num_rows)
        row = jnp.where(begins, row, state.row)
        prompt = self._of_row(self.prompt_of, row)
        state = state._replace(
            waiting=state.waiting + jnp.sum(begins),
            row=row,
            begun=jnp.where(begins, state.step, state.begun),
            cache=ring.begin(state.cache, self.prompt_cache, prompts=prompt, begins=begins),
        )
        return self._drawn(state, self.first_logits[prompt], draws=begins, count=jnp.zeros_like(row))

    def advance(self, state: _State, num_places: int) -> _State:
        """Reads each live row's last token and draws its next."""
        lengths = self.prompts.lengths[self._of_row(self.prompt_of, state.row)]
        age = state.step - state.begun
        num_prompt_slots = self.prompts.tokens.shape[1]
        seen, positions = ring.visible(
            state.step, state.begun, prompt_lengths=lengths, num_prompt_slots=num_prompt_slots, num_places=num_places
        )
        hidden, cache = decoder.hidden_states(
            self.params,
            self.model,
            tokens=state.token[:, None],
            positions=(lengths + age)[:, None],
            key_valid=seen,
            cache=state.cache,
            first_slot=num_prompt_slots + state.step % num_places,
            key_positions=positions,
        )
        logits = decoder.logits(self.params, self.model, hidden[:, 0])
        state = state._replace(step=state.step + 1, cache=cache)
        return self._drawn(state, logits, draws=self._is_live(state), count=age + 1)

    def _drawn(self, state: _State, logits: jax.Array, draws: jax.Array, count: jax.Array) -> _State:
        """Adds a token to the rows in the slots that draw, which have `count` tokens; complete rows leave."""
        keys = jax.vmap(jax.random.fold_in)(self._of_row(self.keys, state.row), count)
        token, logprob = _draw(logits, keys, self.settings)
        row = jnp.where(draws, state.row, self.keys.size)  # behind the end: nothing is written
        is_last = jnp.isin(token, jnp.array(self.settings.stop_ids, jnp.int32))
        is_last |= count + 1 == self.settings.max_completion_tokens
        return state._replace(
            row=jnp.where(draws & is_last, self.keys.size, state.row),
            token=jnp.where(draws, token, state.token),
            tokens=state.tokens.at[row, count].set(token, mode="drop"),
            logprobs=state.logprobs.at[row, count].set(logprob, mode="drop"),
        )

    def is_unfinished(self, state: _State) -> jax.Array:
        """Whether rows wait or are in the making."""
        return self._any(self._is_live(state).any() | (state.waiting < self.num_rows))

    def decode(self, state: _State, num_places: int, goes_on: Callable[[_State], jax.Array]) -> _State:
        """Fills slots and draws tokens in a ring of `num_places` until all rows are complete, or while `goes_on`."""

        def fill_and_draw(state: _State) -> _State:
            return jax.lax.while_loop(
                lambda state: ~self.should_fill(state) & goes_on(state),
                lambda state: self.advance(state, num_places),
                self.fill(state),
            )

        return jax.lax.while_loop(lambda state: self.is_unfinished(state) & goes_on(state), fill_and_draw, state)

    def has_room(self, state: _State, num_places: int) -> jax.Array:
        """Whether no row has filled the ring."""
        return ~self._any((self._is_live(state) & (state.step - state.begun >= num_places)).any())

    def needs_more(self, state: _State, num_slots: int) -> jax.Array:
        """Whether there are more rows left than so many slots hold."""
        num_live = jnp.sum(self._is_live(state))
        return self._any((state.waiting < self.num_rows) | (num_live > num_slots))

    def should_fill(self, state: _State) -> jax.Array:
        """Whether enough slots are free that filling them pays for copying the prompts' caches."""
        is_live = self._is_live(state)
        num_free = is_live.size - jnp.sum(is_live)
        many_free = (num_free * _SHARE_TO_FILL >= is_live.size) & (state.waiting < self.num_rows)
        return self._any(many_free) | ~self._any(is_live.any())

    def compacted(self, state: _State, num_slots: int) -> _State:
        """The state in `num_slots` slots, which hold all rows in the making."""
        kept = jnp.argsort(~self._is_live(state))[:num_slots]
        return state._replace(
            row=state.row[kept],
            begun=state.begun[kept],
            token=state.token[kept],
            cache=jax.tree.map(lambda leaf: leaf[kept], state.cache),
        )

    def _is_live(self, state: _State) -> jax.Array:
        return state.row < self.keys.size

    def _of_row(self, values: jax.Array, row: jax.Array) -> jax.Array:
        return values[jnp.minimum(row, self.keys.size - 1)]

    def _any(self, condition: jax.Array) -> jax.Array:
        """A condition that holds for one of those that turn together makes all of them turn."""
        return condition if self.together is None else jax.lax.pmax(condition.astype(jnp.int32), self.together) > 0


def _decode(rows: _Decoding, num_slots: int) -> _State:
    """Decodes all rows: in a ring that grows to its widest, then in slots that become fewer."""
    widths = ring.sizes(rows.settings.max_completion_tokens - 1)  # a row's last token is never read
    state = rows.start(num_slots, widths[0])
    for num_places in widths[:-1]:
        state = rows.decode(state, num_places, functools.partial(rows.has_room, num_places=num_places))
        state = state._replace(cache=ring.widen(state.cache, rows.prompts.tokens.shape[1]))
    for fewer in fewer_slots(num_slots, rows.settings.max_completion_tokens):
        state = rows.decode(state, widths[-1], functools.partial(rows.needs_more, num_slots=fewer))
        state = rows.compacted(state, fewer)
    return rows.decode(state, widths[-1], lambda _: jnp.bool_(True))


def fewer_slots(num_slots: int, max_completion_tokens: int) -> tuple[int, ...]:
    """The numbers of slots in which the last of long completions are decoded: half, half of these, and so on."""
    if len(ring.sizes(max_completion_tokens - 1)) == 1:
        return ()
    halves = [-(-num_slots // 2**power) for power in range(1, _MOST_HALVINGS + 1)]
    return tuple(half for half in halves if half >= _FEWEST_SLOTS)


def _prefilled(params: Params, prompts: PromptBatch, model: ModelConfig) -> tuple[ring.Cache, jax.Array]:
    """Prompts' caches, and the logits [Q, V] of what follows them."""
    slots = jnp.arange(prompts.tokens.shape[1])
    positions = jnp.broadcast_to(slots, prompts.tokens.shape)
    is_token = slots < prompts.lengths[:, None]
    hidden, cache = decoder.hidden_states(
        params, model, tokens=prompts.tokens, positions=positions, key_valid=is_token, keep_cache=True
    )
    if model.int8_cache:
        cache = tuple(kv_cache.rounded(layer) for layer in cache)
    last = jnp.take_along_axis(hidden, (prompts.lengths - 1)[:, None, None], axis=1)[:, 0]
    return cache, decoder.logits(params, model, last)


def sample(
    params: Params,
    prompts: PromptBatch,  # Q prompts
    key: jax.Array,
    model: ModelConfig,
    settings: SamplingSettings,
    samples_per_prompt: int = 1,
    first_prompt: jax.Array | int = 0,
    max_slots: int | None = None,
    part: jax.Array | int = 0,
    num_parts: int = 1,
    together: str | None = None,
) -> RolloutBatch:
    """Samples completions of every prompt, or a part of them.

    Of R = Q * samples_per_prompt rows, row i is sample i % samples_per_prompt of prompt i // samples_per_prompt.

    Args:
      params: one policy.
      prompts: tokens [Q, T] int32, lengths [Q] int32.
      key: the draw's key; row keys are folded in from it.
      first_prompt: number of the first prompt in the whole draw, so that a draw made in several calls is the draw
        made at once.
      max_slots: how many rows are decoded at once at most; None is all.
      part, num_parts: which of `num_parts` equal parts of the rows to sample; a last part that is not full ends with
        rows without tokens.
      together: name of a vmapped axis whose members shall decode in one loop.

    Returns:
      The part's ceil(R / num_parts) rollouts.
    """
    num_prompts, num_rows = prompts.lengths.shape[0], prompts.lengths.shape[0] * samples_per_prompt
    part_rows = -(-num_rows // num_parts)
    num_slots = min(max_slots or part_rows, part_rows)
    # A pass's prompts are prefilled together, so they are no more than its slots.
    num_passes = -(-part_rows // (num_slots * samples_per_prompt))
    pass_rows = -(-part_rows // num_passes)
    span = min(
        num_prompts,
        _span(part_rows, pass_rows, num_parts=num_parts, num_passes=num_passes, samples_per_prompt=samples_per_prompt),
    )
    params, prompts = decoder.unstacked(params, model), jax.tree.map(jnp.asarray, prompts)

    def one_pass(index: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = part * part_rows + index * pass_rows
        end = jnp.minimum(jnp.minimum(start + pass_rows, (part + 1) * part_rows), num_rows)
        first = jnp.minimum(start // samples_per_prompt, num_prompts - span)
        spanned = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, span), prompts)
        cache, first_logits = _prefilled(params, spanned, model)
        row = start + jnp.arange(pass_rows)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, first_prompt * samples_per_prompt + row)
        prompt_of = jnp.clip(row // samples_per_prompt - first, 0, span - 1)
        rows = _Decoding(
            params=params,
            model=model,
            settings=settings,
            prompts=spanned,
            prompt_cache=cache,
            first_logits=first_logits,
            prompt_of=prompt_of,
            keys=keys,
            num_rows=end - start,
            together=together,
        )
        state = _decode(rows, min(num_slots, pass_rows))
        return state.tokens, state.logprobs

    drawn = jax.lax.map(one_pass, jnp.arange(num_passes))
    tokens, logprobs = (leaf.reshape(-1, settings.max_completion_tokens)[:part_rows] for leaf in drawn)
    prompt = jnp.minimum((part * part_rows + jnp.arange(part_rows)) // samples_per_prompt, num_prompts - 1)
    return RolloutBatch(
        prompts=jax.tree.map(lambda leaf: leaf[prompt], prompts),
        tokens=tokens,
        lengths=_lengths(tokens, settings),
        sampler_logprobs=logprobs,
    )


def _span(part_rows: int, pass_rows: int, num_parts: int, num_passes: int, samples_per_prompt: int) -> int:
    """The most prompts that any pass of any part has rows of."""
    starts = [part * part_rows + index * pass_rows for part in range(num_parts) for index in range(num_passes)]
    return max((start + pass_rows - 1) // samples_per_prompt - start // samples_per_prompt + 1 for start in starts)


def _lengths(tokens: jax.Array, settings: SamplingSettings) -> jax.Array:
    # Padding may share its id with a stop token, so lengths come from the first stop token alone.
    is_stop = jnp.isin(tokens, jnp.array(settings.stop_ids, jnp.int32))
    return jnp.where(is_stop.any(axis=1), jnp.argmax(is_stop, axis=1) + 1, tokens.shape[1]).astype(jnp.int32)
