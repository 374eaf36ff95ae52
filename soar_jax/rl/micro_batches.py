"""The rows of an update, sorted into micro-batches by the prompts that they share and by their length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import flax.struct
import jax
import jax.numpy as jnp

from soar_jax.types import PromptBatch, TrainBatch, map_rows


@flax.struct.dataclass(kw_only=True)
class MicroBatches:
    """A batch whose prompts are cut into chunks, and whose rows are sorted by chunk, and in a chunk by bucket.

    A bucket is the smallest of `widths` that fits a row's completion. Rows without a gradient come last, and prompts
    that have none but such.
    """

    batch: TrainBatch  # sorted; behind the rows come `size` empty ones, behind the prompts copies of the last
    order: jax.Array  # [B] int32, index in the unsorted batch of each sorted row
    sort_key: jax.Array  # [B] int32 sorted: chunk * len(widths) + bucket; larger for rows without a gradient
    num_active: jax.Array  # [] int32, chunks with a row that has a gradient
    widths: tuple[int, ...] = flax.struct.field(pytree_node=False)  # padded completion lengths in tokens, ascending
    size: int = flax.struct.field(pytree_node=False)  # rows of a micro-batch
    chunk_prompts: int = flax.struct.field(pytree_node=False)  # prompts of a chunk

    @classmethod
    def sort(
        cls, batch: TrainBatch, widths: tuple[int, ...], *, uses_kl: bool, rows_per_micro_batch: int
    ) -> MicroBatches:
        """Sorts a batch.

        A chunk has as many prompts as a micro-batch has rows, so that both take about the same memory.

        Args:
          uses_kl: whether rows without an advantage have a gradient too.
        """
        rollouts = batch.rollouts
        num_rows, num_prompts = batch.advantages.shape[0], rollouts.prompts.lengths.shape[0]
        size = min(rows_per_micro_batch, num_rows)
        chunk_prompts = min(size, num_prompts)
        is_active = (batch.advantages != 0) | uses_kl
        is_prompt_active = jnp.zeros(num_prompts, bool).at[rollouts.prompt_of].max(is_active)
        prompt_order = jnp.argsort(~is_prompt_active, stable=True)
        place = jnp.argsort(prompt_order)[rollouts.prompt_of]  # of each row's prompt
        bucket = jnp.searchsorted(jnp.array(widths), rollouts.lengths)
        last_key = num_prompts * len(widths)
        sort_key = jnp.where(is_active, place // chunk_prompts * len(widths) + bucket, last_key)
        order = jnp.argsort(sort_key, stable=True)

        def pad_prompts(leaf: jax.Array) -> jax.Array:
            padding = ((0, -num_prompts % chunk_prompts), *((0, 0),) * (leaf.ndim - 1))
            return jnp.pad(leaf[prompt_order], padding, mode="edge")

        def pad_rows(leaf: jax.Array) -> jax.Array:
            return jnp.pad(leaf[order], ((0, size), *((0, 0),) * (leaf.ndim - 1)))

        sorted_rollouts = map_rows(pad_rows, dataclasses.replace(rollouts, prompt_of=place))
        prompts = jax.tree.map(pad_prompts, rollouts.prompts)
        reference_logprobs = None if batch.reference_logprobs is None else pad_rows(batch.reference_logprobs)
        return cls(
            batch=TrainBatch(
                rollouts=dataclasses.replace(sorted_rollouts, prompts=prompts),
                advantages=pad_rows(batch.advantages),
                reference_logprobs=reference_logprobs,
            ),
            order=order,
            sort_key=sort_key[order],
            num_active=(jnp.sum(is_prompt_active) + chunk_prompts - 1) // chunk_prompts,
            widths=widths,
            size=size,
            chunk_prompts=chunk_prompts,
        )

    def prompts(self, chunk: jax.Array) -> PromptBatch:
        """Returns the prompts of a chunk."""
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, chunk * self.chunk_prompts, self.chunk_prompts),
            self.batch.rollouts.prompts,
        )

    def ranges(self, chunk: jax.Array) -> Iterator[tuple[int, jax.Array, jax.Array]]:
        """Yields the micro-batches of a chunk: a width, and first and end of the indices that are cut to it."""
        first, begin = self._num_before(chunk, 0), jnp.int32(0)
        for bucket, width in enumerate(self.widths):
            num_fitting = self._num_before(chunk, bucket + 1) - first
            # A micro-batch with a wider row too goes to the next width.
            is_last = bucket == len(self.widths) - 1
            end = (num_fitting + (self.size - 1 if is_last else 0)) // self.size
            yield width, begin, end
            begin = end

    def micro_batch(self, chunk: jax.Array, index: jax.Array, width: int) -> TrainBatch:
        """Returns a micro-batch of a chunk, with completions cut to `width` tokens; rows of other chunks are empty."""
        start = self.start(chunk, index)
        is_here = start + jnp.arange(self.size) < self._num_before(chunk + 1, 0)

        def cut(leaf: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(leaf, start, self.size)

        rollouts = map_rows(cut, self.batch.rollouts)
        rollouts = dataclasses.replace(
            rollouts,
            prompts=self.prompts(chunk),
            prompt_of=jnp.clip(rollouts.prompt_of - chunk * self.chunk_prompts, 0, self.chunk_prompts - 1),
            tokens=rollouts.tokens[:, :width],
            sampler_logprobs=rollouts.sampler_logprobs[:, :width],
            lengths=jnp.where(is_here, rollouts.lengths, 0),  # no completion token, so no loss
        )
        logprobs = self.batch.reference_logprobs
        return TrainBatch(
            rollouts=rollouts,
            advantages=cut(self.batch.advantages),
            reference_logprobs=None if logprobs is None else cut(logprobs)[:, :width],
        )

    def start(self, chunk: jax.Array, index: jax.Array) -> jax.Array:
        """Returns the sorted index of a micro-batch's first row."""
        return self._num_before(chunk, 0) + index * self.size

    def unsort(self, values: jax.Array) -> jax.Array:
        """Returns values of the sorted rows, without those of empty ones, in the order of the batch."""
        num_rows = len(self.order)
        return jnp.zeros_like(values[:num_rows]).at[self.order].set(values[:num_rows])

    def _num_before(self, chunk: jax.Array, bucket: int) -> jax.Array:
        """Number of rows in earlier chunks, or in earlier buckets of this one."""
        return jnp.sum(self.sort_key < chunk * len(self.widths) + bucket)
