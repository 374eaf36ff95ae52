"""Sampling of texts: questions in, rollouts and completion texts out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.checkpoints.tokenizer import Tokenizer, prompt_batch
from soar_jax.config.sections import PromptsSection
from soar_jax.integers import ceil_div
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.problems.prompts import student_prompt
from soar_jax.sampling import sharded
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.telemetry.meter import WorkMeter
from soar_jax.types import PromptBatch, RolloutBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """How completions are drawn: a row's randomness is a function of (key, index of its prompt, sample)."""

    key: jax.Array  # [], or [P] for a population whose students do not share it
    settings: SamplingSettings
    num_samples: int  # of each prompt


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSampler:
    """Encodes prompts, runs the sampling programs, decodes completions and meters the work."""

    mesh: Mesh
    model: ModelConfig
    tokenizer: Tokenizer
    prompts: PromptsSection
    max_slots: int
    population_batch: int
    meter: WorkMeter  # counts the work of the devices
    frozen_base: FrozenBase | None = None  # base of the adapters; None where the whole model is trained

    def settings(self, max_completion_tokens: int, temperature: float, top_p: float = 1.0) -> SamplingSettings:
        """Makes sampling settings with this tokenizer's stop and padding ids."""
        return SamplingSettings(
            max_completion_tokens=max_completion_tokens,
            temperature=temperature,
            top_p=top_p,
            stop_ids=self.tokenizer.stop_ids,
            pad_id=self.tokenizer.pad_id,
        )

    def encode(self, texts: Sequence[str]) -> PromptBatch:
        """Encodes texts as they are into a padded batch."""
        rows = [self.tokenizer.encode_prompt(text) for text in texts]
        return prompt_batch(rows, self.tokenizer.pad_id, self.prompts.bucket_tokens)

    def encode_prompts(self, prompts: Sequence[str], openings: Sequence[str] = ()) -> PromptBatch:
        """Encodes prompts into a padded batch, in the model's chat template if `prompts.chat`.

        Args:
          openings: the beginning of the completion for each prompt, appended to it.
        """
        conversations = map(self._conversation, prompts)
        return self.encode([*map("".join, zip(conversations, openings or ("",) * len(prompts), strict=True))])

    def encode_questions(self, questions: Sequence[str]) -> PromptBatch:
        """Encodes the student prompts of questions into a padded batch."""
        return self.encode_prompts([student_prompt(self.prompts, question) for question in questions])

    def fits(self, question: str) -> bool:
        """Whether a question has no special token and its student prompt fits the longest bucket."""
        if self.tokenizer.contains_special_token(question):
            return False
        return self.fits_prompt(student_prompt(self.prompts, question))

    def fits_prompt(self, prompt: str, opening: str = "") -> bool:
        """Whether a prompt with the beginning of its completion fits the longest bucket."""
        ids = self.tokenizer.encode_prompt(self._conversation(prompt) + opening)
        return len(ids) <= max(self.prompts.bucket_tokens)

    def _conversation(self, prompt: str) -> str:
        return self.tokenizer.chat(prompt, self.prompts.system) if self.prompts.chat else prompt

    def texts(self, rollouts: RolloutBatch) -> list[str]:
        """Decodes the completions of all rows, leading axes flattened, and meters their tokens."""
        tokens, lengths = processes.to_host(rollouts.tokens), processes.to_host(rollouts.lengths).reshape(-1)
        self.meter.add_completions(_row_prompt_lengths(rollouts), lengths, self._rows_per_read(tokens.shape[:-1]))
        rows = tokens.reshape(-1, tokens.shape[-1])
        return self.tokenizer.decode([row[:length].tolist() for row, length in zip(rows, lengths, strict=True)])

    def _rows_per_read(self, shape: tuple[int, ...]) -> int:
        """Rows decoded per read of the weights on a device, for a policy's rows [R] or a population's [P, R]."""
        *population, num_rows = shape
        sizes = dict(self.mesh.shape)
        num_shards = sizes[parallel.DATA] * sizes[parallel.FSDP] * (1 if population else sizes[parallel.POPULATION])
        rows = max(1, min(self.max_slots, num_rows // num_shards))
        if population and self.frozen_base is not None:  # vmapped students read one base
            rows *= min(self.population_batch, ceil_div(population[0], sizes[parallel.POPULATION]))
        return rows

    def sample(
        self,
        weights: Params,
        prompts: PromptBatch,
        draw: Draw,
        *,
        first_prompt: int = 0,
        one_more: Params | None = None,
    ) -> RolloutBatch:
        """Samples completions of one policy's prompts [Q, T], or of each student's own prompts [P, Q, T].

        Args:
          first_prompt: index of the first prompt in a draw made by several calls.
          one_more: weights of a policy that is sampled beside a population, see `sharded.sample_population`.

        Returns:
          Rollouts of Q * draw.num_samples rows, the samples of a prompt side by side; with a leading axis P for a
          population, or P + 1.
        """
        is_population = prompts.lengths.ndim == 2
        options: dict[str, Any] = {}
        if is_population:
            options = {"population_batch": self.population_batch, "one_more": one_more}
        lay_out = parallel.shard_population if is_population else parallel.replicate
        program = sharded.sample_population if is_population else sharded.sample_policy
        rollouts = program(
            weights,
            self.frozen_base,
            lay_out(self.mesh, prompts),
            (lay_out if draw.key.ndim else parallel.replicate)(self.mesh, draw.key),
            first_prompt,
            mesh=self.mesh,
            model=self.model,
            settings=draw.settings,
            samples_per_prompt=draw.num_samples,
            max_slots=self.max_slots,
            **options,
        )
        self.meter.watch(rollouts.lengths)
        num_policies = len(rollouts.lengths) if is_population else 1
        lengths = processes.to_host(prompts.lengths).reshape(num_policies - (one_more is not None), -1)
        self.meter.add_prefill(np.resize(lengths, (num_policies, lengths.shape[1])))
        return rollouts


def _row_prompt_lengths(rollouts: RolloutBatch) -> np.ndarray:
    """Tokens of each row's prompt, [R] or [P, R] int32."""
    lengths, prompt_of = processes.to_host(rollouts.prompts.lengths), processes.to_host(rollouts.prompt_of)
    return np.take_along_axis(lengths, prompt_of, axis=-1)
