"""What an int8 cache does: the rate of sampling, and how far samples' log-probabilities are from training's."""

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
from soar_jax.types import RolloutBatch

READS = ("cores", "models", "smollm2")
ROWS, TOKENS = 32, 32  # tokens of prompts and of completions: nano was made for 64 in all
CHUNK_TOKENS = 256


@dataclasses.dataclass(kw_only=True)
class Side:
    """One way to hold the cache, and what it drew last."""

    mesh: Mesh
    model: ModelConfig
    params: Params
    max_slots: int

    def rate(self, number: int) -> float:
        """Tokens/s of a round."""
        sampler = workloads.row_sampler(self.mesh, self.model, self.max_slots)
        prompts = workloads.random_prompts(self.model, ROWS, TOKENS)

        def draw() -> RolloutBatch:
            key = jax.random.key(number)
            self.rollouts = sampler.sample_policy(
                self.params, prompts, key=key, settings=workloads.sampling(TOKENS), samples_per_prompt=1
            )
            return self.rollouts

        return ROWS * TOKENS / workloads.seconds_of(draw)

    def differences(self, params: Params, model: ModelConfig) -> np.ndarray:
        """The last round's log-probabilities [B, C], less those that training computes with `params`."""
        rollouts = jax.device_get(self.rollouts)
        trained = jax.jit(functools.partial(policy_logprobs, model=model, temperature=1.0, chunk_tokens=CHUNK_TOKENS))
        return rollouts.sampler_logprobs - np.asarray(trained(params, rollouts=rollouts))


def measure(options: Options) -> Iterator[Section]:
    """A table a model."""
    for name in options.models:
        yield Section(
            title=f"{name}: {ROWS} rows, prompts of {TOKENS} random tokens, as many new ones",
            rows=list(_rows(options, name)),
            note="Log-probabilities of the drawn tokens, in nats a token, sampler's less training's in float32; their mean "
            "estimates the divergence of the policy that samples from the one that is trained.",
        )


def _rows(options: Options, name: str) -> Iterator[dict[str, Any]]:
    base = load_model(str(models.folder(name, options.smollm2)), "float32")
    mesh, max_slots = parallel.make_mesh(jax.device_count()), models.scale(name).sampling.max_slots
    params = workloads.on_mesh(mesh, base.params)
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    sides = {}
    for dtype, weights in (("float32", params), ("bfloat16", halved)):
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
