"""Measures one GPU with random weights in bfloat16: sampling, a 3B model, the update, a population of LoRA students.

The suite is meant to end within nine minutes. A part that has not started after LAST_START_S is skipped, and a part
that fails, for instance out of memory, gives a row with the error.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from benchmarks import interleave, limits, models, workloads
from benchmarks.limits import Limits, Shape
from benchmarks.options import Options
from benchmarks.peers.process import Worker, WorkerError
from benchmarks.report import Section
from benchmarks.workloads import PopulationShape
from soar_jax import parallel
from soar_jax.checkpoints import config_json
from soar_jax.checkpoints.known_shapes import KNOWN_SHAPES
from soar_jax.config.policy_sections import LoRASection, PolicySection
from soar_jax.errors import SettingsError, require
from soar_jax.model import lora
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params, init_params
from soar_jax.telemetry import devices

# torch uses the same device in turn, and training a 3B model needs nearly all of its memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")

READS = ("tiny",)
LAST_START_S = 400
DTYPE = "bfloat16"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
LLAMA_3B = "meta-llama/Llama-3.2-3B-Instruct"
INNER_STEPS = 10
GENERATE_ROUNDS = 2
LORA = LoRASection(rank=32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the parts."""

    smollm2: Shape
    llama: Shape
    update: Shape
    students: PopulationShape


FULL = Sizes(
    smollm2=Shape(rows=512, prompt_tokens=128, new_tokens=256),
    llama=Shape(rows=256, prompt_tokens=128, new_tokens=512),
    update=Shape(rows=64, prompt_tokens=256, new_tokens=768),
    students=PopulationShape(students=16, prompts=8, group_size=32, prompt_tokens=128, new_tokens=256),
)
TINY = Sizes(
    smollm2=Shape(rows=8, prompt_tokens=8, new_tokens=8),
    llama=Shape(rows=4, prompt_tokens=8, new_tokens=8),
    update=Shape(rows=4, prompt_tokens=8, new_tokens=8),
    students=PopulationShape(students=2, prompts=2, group_size=4, prompt_tokens=8, new_tokens=8),
)
TINY_MODEL = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def measure(options: Options) -> Iterator[Section]:
    """Yields a table per part."""
    require(
        options.tiny or jax.default_backend() == "gpu",
        f"--suite=gpu needs a GPU, but JAX sees {jax.devices()[0].device_kind!r}; install jax[cuda13] or jax[cuda12] "
        "on a GPU host, or try the code with --tiny",
    )
    began, sizes = time.perf_counter(), TINY if options.tiny else FULL
    peak = limits.measure_limits(options.tiny)
    yield Section(
        title=f"limits of {jax.devices()[0].device_kind}",
        rows=[
            {"GB/s copied": peak.bytes_per_s / 1e9} | {f"Tflop/s {d}": r / 1e12 for d, r in peak.flops_per_s.items()}
        ],
    )
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        f"SmolLM2-135M: sampling, {_words(sizes.smollm2)}": lambda: _smollm2(options, sizes.smollm2, peak),
        f"Llama-3.2-3B: sampling, {_words(sizes.llama)}": lambda: _sampling(
            _model(LLAMA_3B, options.tiny), sizes.llama, peak=peak, rounds=options.rounds
        ),
        f"Llama-3.2-3B: update of a whole model, {_words(sizes.update)}": lambda: _update(
            _model(LLAMA_3B, options.tiny), sizes.update, peak=peak, rounds=options.rounds
        ),
        f"SmolLM2-135M: {_population_words(sizes.students)}": lambda: _students(options.tiny, sizes.students),
    }
    for title, part in parts.items():
        if time.perf_counter() - began > LAST_START_S:
            yield Section(title=title, rows=[{"left out": f"{LAST_START_S} s were over"}])
            continue
        started = time.perf_counter()
        try:
            rows = part()
        except jax.errors.JaxRuntimeError as error:  # usually out of memory
            rows = [{"failed": str(error).strip().splitlines()[0][:200]}]
        yield Section(title=title, rows=rows, note=f"{DTYPE}; {time.perf_counter() - started:.0f} s with compilation.")
        gc.collect()
        jax.clear_caches()


def _words(shape: Shape) -> str:
    return f"{shape.rows} rows of {shape.prompt_tokens} + {shape.new_tokens} tokens"


def _population_words(shape: PopulationShape) -> str:
    return (
        f"{shape.students} LoRA students x {INNER_STEPS} inner steps of {shape.prompts} prompts x {shape.group_size} "
        f"samples of {shape.prompt_tokens} + {shape.new_tokens} tokens"
    )


def _raw(source: str, tiny: bool) -> dict[str, Any]:
    return KNOWN_SHAPES[source] | (TINY_MODEL if tiny else {})


def _model(source: str, tiny: bool) -> ModelConfig:
    return config_json.from_hugging_face(_raw(source, tiny), DTYPE)


def _random(model: ModelConfig, dtype: str) -> Params:
    """Makes random weights on the device."""
    return jax.jit(functools.partial(init_params, dataclasses.replace(model, dtype=dtype)))(jax.random.key(0))


def _sampling(model: ModelConfig, shape: Shape, peak: Limits, rounds: int) -> list[dict[str, Any]]:
    """Measures prefill and decoding of all rows at once, and the tokens/s of both together."""
    phases = limits.sampling_phases(
        parallel.make_mesh(1), model, params=_random(model, DTYPE), shape=shape, max_slots=shape.rows, rounds=rounds
    )
    rate = shape.rows * shape.new_tokens / sum(phase.seconds for phase in phases)
    return [phase.row(peak, DTYPE) | {"tokens/s of both": rate} for phase in phases]


def _smollm2(options: Options, shape: Shape, peak: Limits) -> list[dict[str, Any]]:
    rows = _sampling(_model(SMOLLM2, options.tiny), shape, peak=peak, rounds=options.rounds)
    if not _has_torch():
        return rows
    try:
        rates = _generate(_raw(SMOLLM2, options.tiny), shape, options.tiny)
    except WorkerError as error:  # torch finds no GPU or runs out of memory
        rates = {"either": str(error).strip().splitlines()[-1][:200]}
    best = max((rate for rate in rates.values() if isinstance(rate, float)), default=math.nan)
    peer = {f"generate, {cache} cache, tokens/s": rate for cache, rate in rates.items()}
    return [row | peer | {"x generate": row["tokens/s of both"] / best} for row in rows]


def _has_torch() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def _generate(raw: dict[str, Any], shape: Shape, tiny: bool) -> dict[str, float | str]:
    """Measures the tokens/s of transformers in this environment, per kind of cache; an error text where it fails."""
    prompts = workloads.random_tokens(raw["vocab_size"], shape.rows, shape.prompt_tokens).tolist()
    fixed = {"prompts": prompts, "new_tokens": shape.new_tokens, "stop_ids": [], "threads": os.cpu_count()}
    rates: dict[str, float | str] = {}
    with Worker("torch_worker", sys.executable) as worker:
        worker.call("load_random", raw=raw, dtype=DTYPE, device="cpu" if tiny else "cuda")
        for cache in ("dynamic", "static"):

            def rate(number: int, cache: str = cache) -> float:
                answer = worker.call("sample", cache=cache, seed=number, **fixed)
                return answer["tokens"] / answer["seconds"]

            try:
                rates[cache] = interleave.median(interleave.interleave({cache: rate}, GENERATE_ROUNDS)[cache])
            except WorkerError as error:
                rates[cache] = str(error).strip().splitlines()[-1][:200]
    return rates


def _update(model: ModelConfig, shape: Shape, peak: Limits, rounds: int) -> list[dict[str, Any]]:
    """Measures one update with float32 weights and moments, and its MFU against the vendor's peak."""
    phase = limits.update_phase(
        parallel.make_mesh(1),
        model,
        make_params=lambda: _random(model, "float32"),
        shape=shape,
        policy=PolicySection(rows_per_micro_batch=min(8, shape.rows), logprob_chunk_tokens=4096, remat="layers"),
        rounds=rounds,
    )
    return [phase.row(peak, DTYPE) | {"MFU, %": 100 * phase.flops / phase.seconds / _stated_peak(peak)}]


def _stated_peak(peak: Limits) -> float:
    """Returns the vendor's peak FLOP/s, or the measured rate for an unknown device."""
    try:
        return devices.local_topology().device.peak_flops
    except SettingsError:
        return peak.flops_per_s[DTYPE]


def _students(tiny: bool, shape: PopulationShape) -> list[dict[str, Any]]:
    """Measures inner steps of a population of adapters on one frozen base."""
    model, mesh, config = _model(SMOLLM2, tiny), parallel.make_mesh(1), models.run_config("smollm2")
    max_slots, population_batch = shape.prompts * shape.group_size, min(8, shape.students)
    config = dataclasses.replace(
        config,
        sampling=dataclasses.replace(config.sampling, max_slots=max_slots, population_batch=population_batch),
        inner=dataclasses.replace(config.inner, update_batch=population_batch),
        student=dataclasses.replace(config.student, rows_per_micro_batch=16, logprob_chunk_tokens=4096),
    )
    frozen_base = lora.FrozenBase(_random(model, DTYPE), jax.numpy.float32(LORA.scale))
    adapters = lora.init_adapters(LORA, model, jax.random.key(1))
    population = workloads.Population(mesh, model, start=adapters, frozen_base=frozen_base, shape=shape, config=config)
    population.step(0)
    seconds = [population.step(number) for number in range(1, INNER_STEPS + 1)]
    sampling_s, update_s = map(sum, zip(*seconds, strict=True))
    tokens = INNER_STEPS * shape.students * shape.prompts * shape.group_size * shape.new_tokens
    return [
        {
            f"s of {INNER_STEPS} inner steps": sampling_s + update_s,
            "sampling, s": sampling_s,
            "update, s": update_s,
            "sampled tokens/s": tokens / sampling_s,
        }
    ]
