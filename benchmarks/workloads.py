"""Our side of the measurements: random prompts and rollouts, and timed sampling and updates."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.config.run_config import RunConfig
from soar_jax.config.sections import PromptsSection
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params
from soar_jax.rl.losses import LossSettings
from soar_jax.rl.population import init_population, update_population
from soar_jax.rl.train_step import OptimizerSettings
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.text import Draw, TextSampler
from soar_jax.telemetry.meter import WorkMeter
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch

NEVER = (-1,)  # stop ids that are never sampled: all completions have full length
FIRST_TOKEN = 4  # the embedded model's special tokens have lower ids
OPTIMIZER = OptimizerSettings(b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0, max_grad_norm=1.0)
LEARNING_RATE = 1e-8  # moves no weight


def random_tokens(vocab_size: int, *shape: int) -> np.ndarray:
    """Draws tokens, the same in every call."""
    return np.random.default_rng(0).integers(FIRST_TOKEN, vocab_size, shape, dtype=np.int32)


def random_prompts(model: ModelConfig, num_prompts: int, num_tokens: int, leading: tuple[int, ...] = ()) -> PromptBatch:
    """Draws prompts of one length: tokens [*leading, Q, T]."""
    tokens = random_tokens(model.vocab_size, *leading, num_prompts, num_tokens)
    return PromptBatch(tokens=tokens, lengths=np.full(tokens.shape[:-1], num_tokens, np.int32))


def row_sampler(
    mesh: Mesh, model: ModelConfig, max_slots: int, population_batch: int = 1, frozen_base: FrozenBase | None = None
) -> TextSampler:
    """Makes the run's sampler without a tokenizer, for prompts that are tokens already."""
    return TextSampler(
        mesh=mesh,
        model=model,
        tokenizer=None,  # type: ignore[arg-type]
        prompts=PromptsSection(),
        max_slots=max_slots,
        population_batch=population_batch,
        meter=WorkMeter(model),
        frozen_base=frozen_base,
    )


def sampling(new_tokens: int, stop_ids: tuple[int, ...] = NEVER) -> SamplingSettings:
    """Sampling at temperature 1, without nucleus."""
    return SamplingSettings(max_completion_tokens=new_tokens, temperature=1.0, top_p=1.0, stop_ids=stop_ids, pad_id=0)


def loss(chunk_tokens: int, remat: str = "none") -> LossSettings:
    """Plain RLOO loss."""
    return LossSettings(temperature=1.0, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=chunk_tokens, remat=remat)


def random_rollouts(
    model: ModelConfig,
    num_rows: int,
    prompt_tokens: int,
    new_tokens: int,
    leading: tuple[int, ...] = (),
    samples_per_prompt: int = 1,
) -> TrainBatch:
    """Draws rollouts of full length with alternating advantages 1 and -1: leaves [*leading, B, ...]."""
    completions = random_prompts(model, num_rows, new_tokens, leading=leading)
    prompt_of = np.broadcast_to(np.arange(num_rows, dtype=np.int32) // samples_per_prompt, (*leading, num_rows))
    return TrainBatch(
        rollouts=RolloutBatch(
            prompts=random_prompts(model, num_rows // samples_per_prompt, prompt_tokens, leading=leading),
            prompt_of=prompt_of,
            tokens=completions.tokens,
            lengths=completions.lengths,
            sampler_logprobs=np.zeros(completions.tokens.shape, np.float32),
        ),
        advantages=alternating(*leading, num_rows),
    )


def alternating(*shape: int) -> np.ndarray:
    """Alternating advantages 1 and -1: float32 of `shape`."""
    return np.broadcast_to(1.0 - 2.0 * (np.arange(shape[-1]) % 2), shape).astype(np.float32)


def seconds_of(work: Any) -> float:
    """Wall-clock seconds of `work()`, until its results are ready."""
    started = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - started


def on_mesh(mesh: Mesh, params: Any) -> Any:
    """Replicates parameters over the devices."""
    return parallel.replicate(mesh, jax.tree.map(jnp.asarray, params))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PopulationShape:
    """Sizes of an inner step of a population."""

    students: int
    prompts: int  # per student
    group_size: int
    prompt_tokens: int
    new_tokens: int


class Population:
    """Students that train on random prompts; every second sample of a group is rewarded."""

    def __init__(
        self,
        mesh: Mesh,
        model: ModelConfig,
        start: Params,
        frozen_base: FrozenBase | None,
        shape: PopulationShape,
        config: RunConfig,
    ) -> None:
        """Makes the students.

        Args:
          start: initial weights of every student.
          config: gives the sizes of sampling, micro-batches and logits chunks.
        """
        self._mesh, self._model, self._shape, self._student = mesh, model, shape, config.student
        self._update_batch = config.inner.update_batch
        self._sampler = row_sampler(
            mesh,
            model,
            max_slots=config.sampling.max_slots,
            population_batch=config.sampling.population_batch,
            frozen_base=frozen_base,
        )
        self._prompts = random_prompts(model, shape.prompts, shape.prompt_tokens, leading=(shape.students,))
        self._states = init_population(start, mesh=mesh, model=model, optimizer=OPTIMIZER, size=shape.students)

    def step(self, number: int) -> tuple[float, float]:
        """Runs an inner step; returns the seconds of sampling and of the update."""
        shape = self._shape
        keys = jax.random.split(jax.random.key(number), shape.students)
        started = time.perf_counter()
        draw = Draw(key=keys, settings=sampling(shape.new_tokens), num_samples=shape.group_size)
        rollouts = self._sampler.sample(self._states.weights, self._prompts, draw)
        jax.block_until_ready(rollouts)
        sampled = time.perf_counter()
        advantages = alternating(shape.students, shape.prompts * shape.group_size)
        self._states, metrics = update_population(
            self._states,
            TrainBatch(rollouts=rollouts, advantages=parallel.shard_population(self._mesh, advantages)),
            frozen_base=self._sampler.frozen_base,
            learning_rate=LEARNING_RATE,
            mesh=self._mesh,
            model=self._model,
            loss=loss(self._student.logprob_chunk_tokens, self._student.remat),
            optimizer=OPTIMIZER,
            rows_per_micro_batch=self._student.rows_per_micro_batch,
            population_batch=self._update_batch,
        )
        jax.block_until_ready((self._states, metrics))
        return sampled - started, time.perf_counter() - sampled
