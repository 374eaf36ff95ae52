"""Measures the effect of an int8 KV cache on the sampling rate and on the log-probabilities of samples."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from benchmarks import interleave, models, workloads
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax import parallel
from soar_jax.checkpoints.base_model import load_model
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.rl.losses import policy_logprobs
from soar_jax.sampling.text import Draw
from soar_jax.types import RolloutBatch

READS = ("cores", "models", "smollm2")
ROWS, TOKENS = 32, 32  # tokens of a prompt and of a completion: nano's limit is 64 together
CHUNK_TOKENS = 256


@dataclasses.dataclass(kw_only=True)
class Side:
    """A model and cache dtype, and its last rollouts."""

    mesh: Mesh
    model: ModelConfig
    params: Params
    max_slots: int

    def rate(self, number: int) -> float:
        """Tokens/s of a round."""
        sampler = workloads.row_sampler(self.mesh, self.model, self.max_slots)
        prompts = workloads.random_prompts(self.model, ROWS, TOKENS)

        draw = Draw(key=jax.random.key(number), settings=workloads.sampling(TOKENS), num_samples=1)

        def sample() -> RolloutBatch:
            self.rollouts = sampler.sample(self.params, prompts, draw)
            return self.rollouts

        return ROWS * TOKENS / workloads.seconds_of(sample)

    def differences(self, params: Params, model: ModelConfig) -> np.ndarray:
        """Log-probabilities [B, C] of the last round minus those that training computes with `params`."""
        rollouts = jax.device_get(self.rollouts)
        trained = jax.jit(functools.partial(policy_logprobs, model=model, temperature=1.0, chunk_tokens=CHUNK_TOKENS))
        return rollouts.sampler_logprobs - np.asarray(trained(params, rollouts=rollouts))


def measure(options: Options) -> Iterator[Section]:
    """Yields a table per model."""
    for name in options.models:
        yield Section(
            title=f"{name}: {ROWS} rows, prompts of {TOKENS} random tokens, as many new ones",
            rows=list(_rows(options, name)),
            note="Log-probabilities of the sampled tokens in nats, the sampler's minus those of training in float32. "
            "Their mean estimates the KL divergence of the sampling policy from the trained one.",
        )


def _rows(options: Options, name: str) -> Iterator[dict[str, Any]]:
    base = load_model(str(models.folder(name, options.smollm2)), "float32")
    mesh, max_slots = parallel.make_mesh(jax.device_count()), models.run_config(name).sampling.max_slots
    params = workloads.on_mesh(mesh, base.params)
    bfloat16 = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    sides = {}
    for dtype, weights in (("float32", params), ("bfloat16", bfloat16)):
        for int8_cache in (False, True):
            model = dataclasses.replace(base.config, dtype=dtype, int8_cache=int8_cache)
            side = Side(mesh=mesh, model=model, params=weights, max_slots=max_slots)
            sides[dtype, "int8" if int8_cache else dtype] = side
    rates = interleave.interleave({key: side.rate for key, side in sides.items()}, options.rounds)
    for (dtype, cache), side in sides.items():
        differences = side.differences(base.params, base.config)
        yield {
            "model": dtype,
            "cache": cache,
            "tokens/s": interleave.median(rates[dtype, cache]),
            "range": interleave.spread(rates[dtype, cache]),
            "x whole cache": interleave.ratio(rates[dtype, cache], rates[dtype, dtype]),
            "mean difference": float(differences.mean()),
            "mean of magnitudes": float(np.abs(differences).mean()),
            "largest": float(np.abs(differences).max()),
        }
