"""Questions in, rollouts and their texts out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.checkpoints.tokenizer import Tokenizer, prompt_batch
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, LoRASettings
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.problems.prompts import PromptSettings, student_prompt
from soar_jax.sampling import sharded
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.telemetry.meter import WorkMeter
from soar_jax.types import PromptBatch, RolloutBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSampler:
    """The sampling programs behind a tokenizer and prompts."""

    mesh: Mesh
    model: ModelConfig
    tokenizer: Tokenizer
    prompts: PromptSettings
    max_slots: int
    population_batch: int
    frozen: FrozenBase | None = None  # what the weights are adapters of; None where they are the whole model
    adapting: LoRASettings | None = None  # what these adapters are

    @functools.cached_property
    def meter(self) -> WorkMeter:
        """Counts what this sampler, and training beside it, have the devices do."""
        return WorkMeter(self.model, self.adapting)

    def settings(self, max_completion_tokens: int, temperature: float, top_p: float = 1.0) -> SamplingSettings:
        """Sampling settings with this tokenizer's stop and padding ids."""
        return SamplingSettings(
            max_completion_tokens=max_completion_tokens,
            temperature=temperature,
            top_p=top_p,
            stop_ids=self.tokenizer.stop_ids,
            pad_id=self.tokenizer.pad_id,
        )

    def encode(self, texts: Sequence[str]) -> PromptBatch:
        """Bare texts as a padded batch."""
        rows = [self.tokenizer.encode_prompt(text) for text in texts]
        return prompt_batch(rows, self.tokenizer.pad_id, self.prompts.bucket_tokens)

    def encode_prompts(self, prompts: Sequence[str], openings: Sequence[str] = ()) -> PromptBatch:
        """Prompts as a padded batch, in the model's chat template where the settings say so.

        Args:
          openings: texts, one behind each prompt, that the model's answers begin with; none: they begin freely.
        """
        conversations = map(self._conversation, prompts)
        return self.encode([*map("".join, zip(conversations, openings or ("",) * len(prompts), strict=True))])

    def encode_questions(self, questions: Sequence[str]) -> PromptBatch:
        """Student prompts of questions as a padded batch."""
        return self.encode_prompts([student_prompt(self.prompts, question) for question in questions])

    def fits(self, question: str) -> bool:
        """Whether a question can be asked: no special token in it, its student prompt within the longest bucket."""
        if self.tokenizer.holds_special(question):
            return False
        ids = self.tokenizer.encode_prompt(self._conversation(student_prompt(self.prompts, question)))
        return len(ids) <= max(self.prompts.bucket_tokens)

    def _conversation(self, prompt: str) -> str:
        return self.tokenizer.chat(prompt, self.prompts.system) if self.prompts.chat else prompt

    def texts(self, rollouts: RolloutBatch) -> list[str]:
        """Completion texts of all rows, in order (leading axes flattened); their tokens are metered."""
        tokens, lengths = processes.to_host(rollouts.tokens), processes.to_host(rollouts.lengths).reshape(-1)
        self.meter.sampled(processes.to_host(rollouts.prompts.lengths), lengths, self._rows_a_read(tokens.shape[:-1]))
        rows = tokens.reshape(-1, tokens.shape[-1])
        return self.tokenizer.decode([row[:length].tolist() for row, length in zip(rows, lengths, strict=True)])

    def _rows_a_read(self, shape: tuple[int, ...]) -> int:
        """How many of a policy's rows [R], or of a population's [P, R], a read of the weights serves on a device."""
        *population, num_rows = shape
        shares = dict(self.mesh.shape)
        num_sharing = shares[parallel.DATA] * shares[parallel.FSDP] * (1 if population else shares[parallel.POPULATION])
        rows = max(1, min(self.max_slots, num_rows // num_sharing))
        if population and self.frozen is not None:  # students at once have one base
            rows *= min(self.population_batch, -(-population[0] // shares[parallel.POPULATION]))
        return rows

    def sample_policy(
        self,
        weights: Params,
        prompts: PromptBatch,
        key: jax.Array,
        settings: SamplingSettings,
        samples_per_prompt: int,
        first_prompt: int = 0,
    ) -> RolloutBatch:
        """Rollouts of one policy: `samples_per_prompt` rows for each prompt.

        Prompts `first_prompt`, `first_prompt + 1`, … of a draw made in several calls.
        """
        rollouts = sharded.sample_policy(
            weights,
            self.frozen,
            prompts=parallel.replicate(self.mesh, prompts),
            key=parallel.replicate(self.mesh, key),
            first_prompt=first_prompt,
            mesh=self.mesh,
            model=self.model,
            settings=settings,
            samples_per_prompt=samples_per_prompt,
            max_slots=self.max_slots,
        )
        return self._metered(prompts, rollouts)

    def sample_population(
        self,
        weights: Params,
        prompts: PromptBatch,
        keys: jax.Array,
        settings: SamplingSettings,
        samples_per_prompt: int,
        first_prompt: int = 0,
    ) -> RolloutBatch:
        """Rollouts [P, R, ...] of a population, each student answering its own prompts [P, Q, T].

        They are prompts `first_prompt`, `first_prompt + 1`, … of each student's draw.
        """
        rollouts = sharded.sample_population(
            weights,
            self.frozen,
            prompts=parallel.shard_population(self.mesh, prompts),
            keys=parallel.shard_population(self.mesh, keys),
            first_prompt=first_prompt,
            mesh=self.mesh,
            model=self.model,
            settings=settings,
            samples_per_prompt=samples_per_prompt,
            max_slots=self.max_slots,
            population_batch=self.population_batch,
        )
        return self._metered(prompts, rollouts)

    def _metered(self, prompts: PromptBatch, rollouts: RolloutBatch) -> RolloutBatch:
        self.meter.watch(rollouts.lengths)
        self.meter.prefilled(processes.to_host(prompts.lengths))
        return rollouts
