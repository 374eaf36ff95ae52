"""Measures the copy and matmul rates of the devices, and the fraction of them that sampling and updates reach."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from benchmarks import interleave, workloads
from soar_jax import parallel
from soar_jax.config.policy_sections import PolicySection
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.rl.population import init_policy, update_policy
from soar_jax.rl.train_step import TrainState
from soar_jax.sampling.text import Draw
from soar_jax.telemetry import costs

COPY_BYTES = {"cpu": 2**28, "gpu": 2**32, "tpu": 2**31}  # much larger than the caches
MATRIX_SIDE = {"cpu": 2048, "gpu": 16384, "tpu": 8192}
REPEATS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Peak rates, summed over the devices."""

    bytes_per_s: float  # read or written
    flops_per_s: dict[str, float]  # by dtype

    def seconds(self, flops: float, moved: float, dtype: str) -> float:
        """Returns the roofline time of `flops` FLOPs and `moved` bytes."""
        return max(flops / self.flops_per_s[dtype], moved / self.bytes_per_s)


def measure_limits(tiny: bool = False) -> Limits:
    """Measures the rates with a copy of an array and products of square matrices, sharded over the devices."""
    platform, devices = jax.default_backend(), jax.device_count()
    mesh = parallel.make_mesh(-1)
    copied_numbers = (2**20 if tiny else COPY_BYTES[platform]) // 4
    array = [parallel.shard_population(mesh, jnp.ones((devices, copied_numbers // devices), jnp.float32))]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place: on a CPU, allocation costs more than the copy

    def copy() -> jax.Array:
        array[0] = add(array[0])
        return array[0]

    copied = _best(copy)
    side = 256 if tiny else MATRIX_SIDE[platform]
    rates = {}
    for dtype in ("float32", "bfloat16"):
        # Random numbers: on equal numbers chips draw less power and run faster than on real data.
        numbers = jax.random.normal(jax.random.key(0), (side, side), dtype)
        rows = parallel.shard_population(mesh, numbers[: side // devices * devices].reshape(devices, -1, side))
        replicated = parallel.replicate(mesh, numbers)
        rates[dtype] = 2 * side**3 / _best(jax.jit(lambda a, b: a @ b), rows, replicated)
    return Limits(bytes_per_s=2 * array[0].nbytes / copied, flops_per_s=rates)


def _best(function: Callable[..., Any], *arguments: Any) -> float:
    """Returns the shortest time in seconds of several calls, after a warm-up call."""
    jax.block_until_ready(function(*arguments))
    return min(workloads.seconds_of(lambda: function(*arguments)) for _ in range(REPEATS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """Number of rows and their tokens in a phase."""

    rows: int
    prompt_tokens: int
    new_tokens: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """The minimum work of a phase, and its measured time."""

    name: str
    flops: float
    moved: float  # bytes that must be read or written, each counted once
    seconds: float

    def row(self, limits: Limits, dtype: str) -> dict[str, Any]:
        """Makes a row of a table."""
        return {
            "phase": self.name,
            "s": self.seconds,
            "Gflop/s": self.flops / self.seconds / 1e9,
            "of multiplying, %": 100 * self.flops / self.seconds / limits.flops_per_s[dtype],
            "GB/s": self.moved / self.seconds / 1e9,
            "of copying, %": 100 * self.moved / self.seconds / limits.bytes_per_s,
            "of the roofline, %": 100 * limits.seconds(self.flops, self.moved, dtype) / self.seconds,
        }


def sampling_phases(
    mesh: Mesh, model: ModelConfig, params: Any, shape: Shape, max_slots: int, rounds: int
) -> list[Phase]:
    """Times prefill, and decoding of all tokens after the first.

    Prefill is the time to sample one token; decoding is the time to sample all tokens minus prefill. The minimum work
    counts one read of the weights per token position. Rows that wait for a slot cause more reads, which do not count.
    """
    sampler = workloads.row_sampler(mesh, model, max_slots)
    prompts = workloads.random_prompts(model, shape.rows, shape.prompt_tokens)

    def sample(new_tokens: int) -> Callable[[int], float]:
        settings = workloads.sampling(new_tokens)

        def seconds(number: int) -> float:
            draw = Draw(key=jax.random.key(number), settings=settings, num_samples=1)
            return workloads.seconds_of(lambda: sampler.sample(params, prompts, draw))

        return seconds

    found = interleave.interleave({"prefill": sample(1), "all": sample(shape.new_tokens)}, rounds)
    prefill_s = interleave.median(found["prefill"])
    decode_s = statistics.median(a - p for a, p in zip(found["all"], found["prefill"], strict=True))
    rows, tokens = shape.rows, shape.new_tokens
    cache = costs.cache_bytes_per_token(model)
    contexts = sum(range(shape.prompt_tokens + 1, shape.prompt_tokens + tokens))  # keys attended to by a row's steps
    return [
        Phase(
            name="prefill",
            flops=rows * costs.prefill_flops(model, shape.prompt_tokens),
            moved=costs.matrix_bytes(model) + rows * shape.prompt_tokens * cache,
            seconds=prefill_s,
        ),
        Phase(
            name="decode",
            flops=rows * costs.decode_flops(model, shape.prompt_tokens, tokens),
            moved=(tokens - 1) * costs.matrix_bytes(model) + rows * contexts * cache,
            seconds=decode_s,
        ),
    ]


def update_phase(
    mesh: Mesh,
    model: ModelConfig,
    make_params: Callable[[], Params],
    shape: Shape,
    policy: PolicySection,
    rounds: int,
) -> Phase:
    """Times one update of all parameters.

    Its minimum bytes: parameters and moments read and written, gradients written and read.

    Args:
      make_params: makes the parameters, so that no second copy stays in memory.
      policy: gives the rows of a micro-batch, the tokens of a logits chunk and the rematerialisation.
    """
    batch = workloads.random_rollouts(model, shape.rows, prompt_tokens=shape.prompt_tokens, new_tokens=shape.new_tokens)
    state: list[TrainState] = [init_policy(make_params(), mesh=mesh, model=model, optimizer=workloads.OPTIMIZER)]

    def update(_: int) -> float:
        def work() -> Any:
            state[0], metrics = update_policy(
                state[0],
                batch,
                frozen_base=None,
                learning_rate=workloads.LEARNING_RATE,
                mesh=mesh,
                model=model,
                loss=workloads.loss(policy.logprob_chunk_tokens, policy.remat),
                optimizer=workloads.OPTIMIZER,
                rows_per_micro_batch=policy.rows_per_micro_batch,
            )
            return state[0], metrics

        return workloads.seconds_of(work)

    seconds = interleave.median(interleave.interleave({"update": update}, rounds)["update"])
    flops = shape.rows * costs.useful_training_flops(model, shape.prompt_tokens, shape.new_tokens)
    state_bytes = costs.training_state_bytes(model)
    return Phase(name="update", flops=flops, moved=2 * state_bytes + 2 * state_bytes / 3, seconds=seconds)
