"""What this device can do, and what share of it prefill, decoding and the update reach."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax

from benchmarks import limits, models, workloads
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax import parallel
from soar_jax.checkpoints.base_model import load_model

READS = ("cores", "models", "smollm2")
# Rows, prompt and new tokens: sampling, then update. The update of SmolLM2 takes half a minute on two cores.
SHAPES = {
    "nano": (
        limits.Shape(rows=64, prompt_tokens=128, new_tokens=128),
        limits.Shape(rows=128, prompt_tokens=15, new_tokens=27),
    ),
    "smollm2": (
        limits.Shape(rows=64, prompt_tokens=128, new_tokens=64),
        limits.Shape(rows=8, prompt_tokens=128, new_tokens=128),
    ),
}


def measure(options: Options) -> Iterator[Section]:
    """The limits, then a table a model."""
    peak = limits.measure_limits()
    rows = [{"what": "copying", "rate": f"{peak.bytes_per_s / 1e9:.1f} GB/s read and written"}]
    rows += [
        {"what": f"multiplying {dtype}", "rate": f"{rate / 1e9:,.0f} Gflop/s"}
        for dtype, rate in peak.flops_per_s.items()
    ]
    yield Section(title=f"limits of {jax.device_count()} x {jax.devices()[0].device_kind}", rows=rows)
    for name in options.models:
        base, config = load_model(str(models.folder(name, options.smollm2)), "float32"), models.scale(name)
        sampling, training = SHAPES[name]
        mesh = parallel.make_mesh(-1)
        params = workloads.on_mesh(mesh, base.params)
        phases = limits.sampling_phases(
            mesh, base.config, params=params, shape=sampling, max_slots=config.sampling.max_slots, rounds=options.rounds
        )
        del params
        mesh = parallel.make_mesh(1, data=-1)  # one policy: rows are shared out
        phases.append(
            limits.update_phase(
                mesh,
                base.config,
                make_params=functools.partial(workloads.on_mesh, mesh, base.params),
                shape=training,
                rows_per_micro_batch=config.student.rows_per_micro_batch,
                chunk_tokens=config.student.logprob_chunk_tokens,
                remat=config.student.remat,
                rounds=options.rounds,
            )
        )
        yield Section(
            title=f"{name}: shares of the limits, float32",
            rows=[phase.row(peak, "float32") for phase in phases],
            note=f"Sampling: {_words(sampling)}; update: {_words(training)}. Operations and bytes are the least that the "
            "work needs, from the model's shape.",
        )


def _words(shape: limits.Shape) -> str:
    return f"{shape.rows} rows of {shape.prompt_tokens} + {shape.new_tokens} tokens"
