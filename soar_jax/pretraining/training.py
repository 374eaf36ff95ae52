"""Next-token pretraining, with an auxiliary loss that calibrates the prior over answer styles."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.checkpoints.tokenizer import Tokenizer
from soar_jax.model import decoder
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.pretraining import corpus
from soar_jax.problems import arithmetic
from soar_jax.types import Array

MICRO_BATCHES = 8  # per device and step; small ones fit in the CPU cache


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingPhase:
    """Corpus, schedule and optional target prior of a phase."""

    name: str
    mix: corpus.Mix
    num_steps: int
    documents_per_step: int
    peak_learning_rate: float
    warmup_steps: int
    decay_fraction: float  # last fraction of the steps, over which the rate falls to zero
    worked_prior: tuple[float, ...] = ()  # target probability of a worked answer to an exam question, by level
    prior_weight: float = 0.0
    prior_prompts_per_step: int = 128


@flax.struct.dataclass(kw_only=True)
class StepArrays:
    """Token ids of one step's documents and calibration prompts."""

    tokens: Array  # [B, S] int32, right-padded
    target_weights: Array  # [B, S] float32, 1 / (number of targets in the step) on targets, else 0
    prior_tokens: Array  # [Q, T] int32, exam prompts of equal length
    prior_log_targets: Array  # [Q] float32, log-probabilities


def _encode(tokenizer: Tokenizer, documents: Sequence[corpus.Document], width: int) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.full((len(documents), width), tokenizer.pad_id, np.int32)
    is_target = np.zeros(tokens.shape, bool)
    texts = [f"{document.prompt} {document.continuation}" for document in documents]
    for row, ids in enumerate(tokenizer.backend(texts, add_special_tokens=False)["input_ids"]):
        full = [tokenizer.bos_id, *ids, tokenizer.eos_id]
        tokens[row, : len(full)] = full
        prompt_words = 1 + len(documents[row].prompt.split())
        is_target[row, prompt_words : len(full)] = True
    return tokens, is_target


def batches(phase: PretrainingPhase, tokenizer: Tokenizer, seed: int, width: int) -> Iterator[StepArrays]:
    """Yields the batch of every step, a pure function of (seed, phase name, step)."""
    for step in range(phase.num_steps):
        # Not rng.stream_generator: the embedded model must stay reproducible if that changes.
        rng = np.random.default_rng([seed, zlib.crc32(f"corpus_{phase.name}".encode()), step])
        documents = [corpus.random_document(rng, phase.mix) for _ in range(phase.documents_per_step)]
        tokens, is_target = _encode(tokenizer, documents, width)
        levels = 1 + np.arange(phase.prior_prompts_per_step) % arithmetic.MAX_OPERATIONS
        dials = [
            arithmetic.random_dial(rng, level, corpus.draw_topic(rng, phase.mix.exam_dial.mirror))
            for level in levels.tolist()
        ]
        prompts = [tokenizer.encode_prompt(corpus.STUDENT_PROMPT.format(question=dial.text())) for dial in dials]
        targets = np.log(np.asarray(phase.worked_prior or (1.0,) * arithmetic.MAX_OPERATIONS))
        weights = is_target.astype(np.float32) / is_target.sum()
        yield StepArrays(
            tokens=tokens,
            target_weights=weights,
            prior_tokens=np.array(prompts, np.int32),
            prior_log_targets=targets[levels - 1].astype(np.float32),
        )


def _next_token_loss(params: Params, model: ModelConfig, arrays: StepArrays) -> jax.Array:
    inputs = arrays.tokens[:, :-1]
    positions = jnp.broadcast_to(jnp.arange(inputs.shape[1]), inputs.shape)
    hidden, _ = decoder.hidden_states(
        params, model, tokens=inputs, positions=positions, key_valid=jnp.ones(inputs.shape, bool)
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(
        decoder.logits(params, model, hidden), arrays.tokens[:, 1:]
    )
    return (losses * arrays.target_weights[:, 1:]).sum()


def worked_logprob(params: Params, model: ModelConfig, prompts: jax.Array, mark_id: int) -> jax.Array:
    """Log-probability that the answer to each prompt starts with the work mark: [Q] for unpadded prompts [Q, T]."""
    positions = jnp.broadcast_to(jnp.arange(prompts.shape[1]), prompts.shape)
    hidden, _ = decoder.hidden_states(
        params, model, tokens=prompts, positions=positions, key_valid=jnp.ones(prompts.shape, bool)
    )
    return jax.nn.log_softmax(decoder.logits(params, model, hidden[:, -1]))[:, mark_id]


def _schedule(phase: PretrainingPhase) -> optax.Schedule:
    decay_steps = int(phase.decay_fraction * phase.num_steps)
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, phase.peak_learning_rate, phase.warmup_steps),
            optax.constant_schedule(phase.peak_learning_rate),
            optax.linear_schedule(phase.peak_learning_rate, 0.0, decay_steps),
        ],
        [phase.warmup_steps, phase.num_steps - decay_steps],
    )


def _loss(
    params: Params, arrays: StepArrays, phase: PretrainingPhase, model: ModelConfig, mark_id: int
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss and metrics of a micro-batch: weighted sums, which add up to those of the step."""
    next_token = _next_token_loss(params, model, arrays)
    if not phase.worked_prior:
        return next_token, {"loss": next_token}
    gap = worked_logprob(params, model, prompts=arrays.prior_tokens, mark_id=mark_id) - arrays.prior_log_targets
    prior = jnp.sum(jnp.square(gap)) / phase.prior_prompts_per_step
    return next_token + phase.prior_weight * prior, {"loss": next_token, "squared_prior_gap": prior}


# Many parameters: all that a phase depends on, with a single caller.
def run_phase(
    params: Params,
    phase: PretrainingPhase,
    model: ModelConfig,
    *,
    tokenizer: Tokenizer,
    mesh: Mesh,
    seed: int,
    longest_document_tokens: int,
    report: Callable[[int, dict[str, Any]], None],
) -> Params:
    """Trains `params` through one phase; calls `report(step, metrics)` every 20 steps."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(_schedule(phase), b1=0.9, b2=0.98))
    mark_id = tokenizer.backend.convert_tokens_to_ids(arithmetic.WORK_MARK)
    loss_gradient = jax.grad(functools.partial(_loss, phase=phase, model=model, mark_id=mark_id), has_aux=True)

    def gradient(params: Params, arrays: StepArrays) -> tuple[Params, dict[str, jax.Array]]:
        micro = jax.tree.map(lambda leaf: leaf.reshape(MICRO_BATCHES, -1, *leaf.shape[1:]), arrays)
        shapes = jax.eval_shape(loss_gradient, params, jax.tree.map(lambda leaf: leaf[0], micro))
        total, _ = jax.lax.scan(
            lambda total, batch: (jax.tree.map(jnp.add, total, loss_gradient(params, batch)), None),
            jax.tree.map(jnp.zeros_like, shapes),
            micro,
        )
        return jax.lax.psum(total, parallel.POPULATION)

    sharded_gradient = parallel.shard_over_population(
        mesh, gradient, in_specs=(parallel.REPLICATED, parallel.BY_POPULATION), out_specs=parallel.REPLICATED
    )

    @jax.jit
    def step(params: Params, opt_state: Any, arrays: StepArrays) -> tuple[Params, Any, dict[str, jax.Array]]:
        grads, metrics = sharded_gradient(params, arrays)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, metrics

    params = parallel.replicate(mesh, params)
    opt_state = optimizer.init(params)
    for index, arrays in enumerate(batches(phase, tokenizer, seed=seed, width=longest_document_tokens)):
        params, opt_state, metrics = step(params, opt_state, parallel.shard_population(mesh, arrays))
        if index % 20 == 19 or index + 1 == phase.num_steps:
            report(index + 1, {name: float(value) for name, value in metrics.items()})
    return params
