"""Measures the share of a short episode's effect that computing in bfloat16 keeps."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from benchmarks import models, workloads
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax import parallel
from soar_jax.checkpoints.base_model import load_model
from soar_jax.config.policy_sections import LoRASection
from soar_jax.model import lora, parameters, rounding
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params
from soar_jax.rl.losses import completion_mask, policy_logprobs
from soar_jax.rl.train_step import TrainState, init_train_state, make_optimizer, train_step
from soar_jax.sampling.text import Draw
from soar_jax.types import RolloutBatch, TrainBatch

READS = ("cores", "models", "smollm2")
ROWS, PROMPT_TOKENS, NEW_TOKENS, STEPS = 8, 4, 20, 10
CHUNK_TOKENS = 256
LEARNING_RATES = (1e-6, 1e-5)
RANKS = (0, 32)
# Few weights, for speed; their size is that of a larger model's, as only it counts beside the steps of bfloat16.
RANDOM_MODEL = ModelConfig(
    vocab_size=4096,
    d_model=512,
    hidden_dim=1536,
    num_layers=6,
    num_heads=8,
    num_kv_heads=4,
    head_dim=64,
    rope_theta=10000.0,
    norm_eps=1e-5,
    tie_embeddings=True,
    max_position_tokens=256,
)
RANDOM_STD = 0.02  # about 1 / sqrt(3072), of the matrices of a 3B model


def measure(options: Options) -> Iterator[Section]:
    """Yields a table per model: the random one, and SmolLM2 where it is asked for."""
    yield _table("random weights of standard deviation 0.02", RANDOM_MODEL, _random_params())
    if "smollm2" in options.models:
        base = load_model(str(models.folder("smollm2", options.smollm2)), "float32")
        yield _table("smollm2", base.config, base.params)


def _random_params() -> Params:
    def scaled(spec: parameters.ParamSpec, leaf: jax.Array) -> jax.Array:
        return leaf * (RANDOM_STD * spec.fan_in**0.5) if spec.fan_in else leaf

    drawn = parameters.init_params(RANDOM_MODEL, jax.random.key(0))
    return jax.tree.map(
        scaled, parameters.parameter_table(RANDOM_MODEL), drawn, is_leaf=lambda x: isinstance(x, parameters.ParamSpec)
    )


def _table(name: str, model: ModelConfig, params: Params) -> Section:
    checkpoint = jax.tree.map(lambda leaf: np.asarray(leaf).astype(ml_dtypes.bfloat16).astype(np.float32), params)
    mesh = parallel.make_mesh(jax.device_count())
    prompts = workloads.random_prompts(model, ROWS, PROMPT_TOKENS)
    draw = Draw(key=jax.random.key(1), settings=workloads.sampling(NEW_TOKENS), num_samples=1)
    drawn = workloads.row_sampler(mesh, model, ROWS).sample(workloads.on_mesh(mesh, checkpoint), prompts, draw)
    batch = TrainBatch(rollouts=jax.device_get(drawn), advantages=workloads.alternating(ROWS))
    return Section(
        title=f"{name}: {STEPS} Adam steps on {ROWS} rows of {NEW_TOKENS} tokens",
        rows=[
            _row(model, checkpoint, batch, rank=rank, learning_rate=learning_rate)
            for rank in RANKS
            for learning_rate in LEARNING_RATES
        ],
        note="Rise of the log-probability of the rewarded rows, in nats, from weights that are bfloat16. Shares are of "
        "float32's rise: measured by the trained program in bfloat16 itself, and in float32 with the weights that it "
        "computes with, which is without the noise of a bfloat16 measurement.",
    )


def _row(model: ModelConfig, checkpoint: Params, batch: TrainBatch, rank: int, learning_rate: float) -> dict[str, Any]:
    row = {"trained": f"LoRA {rank}" if rank else "whole model", "learning rate": learning_rate}
    exact, _ = _gains(model, checkpoint, batch, rank=rank, learning_rate=learning_rate)
    row["float32"] = exact
    for name, rounds_to_nearest in (("nearest", True), ("dither", False)):
        bfloat16 = dataclasses.replace(model, dtype="bfloat16")
        with _nearest() if rounds_to_nearest else contextlib.nullcontext():
            own, of_weights = _gains(bfloat16, checkpoint, batch, rank=rank, learning_rate=learning_rate)
        row |= {name: own, f"{name}: share": own / exact, f"{name}: share in float32": of_weights / exact}
    return row


def _nearest() -> Any:
    """Replaces the dither by rounding to nearest, in programs that are traced within."""
    return mock.patch.object(rounding, "round_stacked", lambda x, dtype, name, layers: x.astype(dtype))


def _gains(
    model: ModelConfig, checkpoint: Params, batch: TrainBatch, rank: int, learning_rate: float
) -> tuple[float, float]:
    """Trains, and returns the gain of the rewarded rows in the model's dtype, and in float32 with its weights."""
    weights, frozen_base = checkpoint, None
    if rank:
        section = LoRASection(rank=rank)
        weights = lora.init_adapters(section, model, jax.random.key(2))
        frozen_base = FrozenBase(jax.tree.map(lambda x: jnp.asarray(x, model.dtype), checkpoint), jnp.float32(2.0))
    step = jax.jit(
        functools.partial(
            train_step,
            model=model,
            loss=workloads.loss(CHUNK_TOKENS),
            optimizer=workloads.OPTIMIZER,
            rows_per_micro_batch=ROWS,
        )
    )
    measured = [jax.jit(functools.partial(_logprob, model=model, dtype=dtype)) for dtype in (model.dtype, "float32")]
    state: TrainState = init_train_state(jax.tree.map(jnp.asarray, weights), make_optimizer(workloads.OPTIMIZER))
    before = [float(logprob(state.weights, frozen_base, batch)) for logprob in measured]
    for _ in range(STEPS):
        state, _ = step(state, batch, learning_rate, frozen_base=frozen_base)
    after = [float(logprob(state.weights, frozen_base, batch)) for logprob in measured]
    return after[0] - before[0], after[1] - before[1]


def _logprob(
    weights: Params, frozen_base: FrozenBase | None, batch: TrainBatch, model: ModelConfig, dtype: str
) -> jax.Array:
    """Log-probability of the rewarded rows, with the weights that programs in the model's dtype compute with."""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), lora.decoder_params(weights, frozen_base, model))
    rollouts: RolloutBatch = batch.rollouts
    logprobs = policy_logprobs(
        params, dataclasses.replace(model, dtype=dtype), rollouts, temperature=1.0, chunk_tokens=CHUNK_TOKENS
    )
    return jnp.sum(logprobs * completion_mask(rollouts) * (batch.advantages > 0)[:, None])
