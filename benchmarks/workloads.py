"""Our side of the measurements: prompts of random tokens, and the programs that sample and update, timed whole."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params
from soar_jax.problems.prompts import PromptSettings
from soar_jax.rl.losses import LossSettings
from soar_jax.rl.population import init_population, update_population
from soar_jax.rl.train_step import OptimizerSettings
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.text import TextSampler
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch

NEVER = (-1,)  # stop tokens that are never drawn: all completions have full length
FIRST_TOKEN = 4  # of the random ones; those before it are special in the embedded model
OPTIMIZER = OptimizerSettings(learning_rate=1e-8, b1=0.9, b2=0.99, eps=1e-8, max_grad_norm=1.0)  # moves nothing


def random_tokens(vocab_size: int, *shape: int) -> np.ndarray:
    """Tokens that are the same in every call."""
    return np.random.default_rng(0).integers(FIRST_TOKEN, vocab_size, shape, dtype=np.int32)


def random_prompts(model: ModelConfig, num_prompts: int, num_tokens: int, *leading: int) -> PromptBatch:
    """Prompts of one length: tokens [*leading, Q, T]."""
    tokens = random_tokens(model.vocab_size, *leading, num_prompts, num_tokens)
    return PromptBatch(tokens=tokens, lengths=np.full(tokens.shape[:-1], num_tokens, np.int32))


def row_sampler(
    mesh: Mesh, model: ModelConfig, max_slots: int, population_batch: int = 1, frozen: FrozenBase | None = None
) -> TextSampler:
    """The program's sampler without a tokenizer: its prompts are tokens already."""
    prompts = PromptSettings(student="", teacher="", bucket_tokens=())
    return TextSampler(
        mesh=mesh,
        model=model,
        tokenizer=None,
        prompts=prompts,
        max_slots=max_slots,
        population_batch=population_batch,
        frozen=frozen,
    )  # type: ignore[arg-type]


def sampling(new_tokens: int, stop_ids: tuple[int, ...] = NEVER) -> SamplingSettings:
    """Sampling from the whole distribution."""
    return SamplingSettings(max_completion_tokens=new_tokens, temperature=1.0, top_p=1.0, stop_ids=stop_ids, pad_id=0)


def loss(chunk_tokens: int, remat: str = "none") -> LossSettings:
    """The plain RLOO loss."""
    return LossSettings(temperature=1.0, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=chunk_tokens, remat=remat)


def random_rollouts(
    model: ModelConfig, num_rows: int, prompt_tokens: int, new_tokens: int, *leading: int
) -> TrainBatch:
    """Rollouts of full length with advantages of 1 and -1 by turns: leaves [*leading, B, ...]."""
    completions = random_prompts(model, num_rows, new_tokens, *leading)
    return TrainBatch(
        rollouts=RolloutBatch(
            prompts=random_prompts(model, num_rows, prompt_tokens, *leading),
            tokens=completions.tokens,
            lengths=completions.lengths,
            sampler_logprobs=np.zeros(completions.tokens.shape, np.float32),
        ),
        advantages=alternating(*leading, num_rows),
    )


def alternating(*shape: int) -> np.ndarray:
    """Advantages of 1 and -1 by turns."""
    return np.broadcast_to(1.0 - 2.0 * (np.arange(shape[-1]) % 2), shape).astype(np.float32)


def seconds_of(work: Any) -> float:
    """Wall time of `work()` until all that it returns is there."""
    started = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - started


def on_mesh(mesh: Mesh, params: Any) -> Any:
    """A copy of parameters on every device."""
    return parallel.replicate(mesh, jax.tree.map(jnp.asarray, params))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PopulationShape:
    """An inner step of a population."""

    students: int
    prompts: int  # of a student
    group_size: int
    prompt_tokens: int
    new_tokens: int


class Population:
    """Students in training on random prompts, every second sample of a group rewarded."""

    def __init__(
        self,
        mesh: Mesh,
        model: ModelConfig,
        start: Params,
        frozen: FrozenBase | None,
        shape: PopulationShape,
        config: Any,
        population_batch: int,
    ) -> None:
        """Makes the students.

        Args:
          start: weights of each at first.
          config: of a scale, whose sizes of chunks and micro-batches are used.
        """
        self._mesh, self._model, self._shape, self._student = mesh, model, shape, config.student
        self._sampler = row_sampler(
            mesh, model, max_slots=config.sampling.max_slots, population_batch=population_batch, frozen=frozen
        )
        self._prompts = random_prompts(model, shape.prompts, shape.prompt_tokens, shape.students)
        self._states = init_population(start, mesh=mesh, model=model, optimizer=OPTIMIZER, size=shape.students)

    def step(self, number: int) -> tuple[float, float]:
        """Seconds of sampling and of the update."""
        shape = self._shape
        keys = jax.random.split(jax.random.key(number), shape.students)
        started = time.perf_counter()
        rollouts = self._sampler.sample_population(
            self._states.weights,
            self._prompts,
            keys=keys,
            settings=sampling(shape.new_tokens),
            samples_per_prompt=shape.group_size,
        )
        jax.block_until_ready(rollouts)
        sampled = time.perf_counter()
        advantages = alternating(shape.students, shape.prompts * shape.group_size)
        self._states, metrics = update_population(
            self._states,
            TrainBatch(rollouts=rollouts, advantages=parallel.shard_population(self._mesh, advantages)),
            reference=None,
            frozen=self._sampler.frozen,
            mesh=self._mesh,
            model=self._model,
            loss=loss(self._student.logprob_chunk_tokens, self._student.remat),
            optimizer=OPTIMIZER,
            rows_per_micro_batch=self._student.rows_per_micro_batch,
            population_batch=self._sampler.population_batch,
        )
        jax.block_until_ready((self._states, metrics))
        return sampled - started, time.perf_counter() - sampled
