"""Measures the copy and matmul rates of this device, and the fraction that prefill, decoding and update reach."""

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
# Sizes of sampling and of the update. The update of SmolLM2 takes half a minute on two cores.
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
    """Yields a table of the limits, and a table per model."""
    peak = limits.measure_limits()
    rows = [{"what": "copying", "rate": f"{peak.bytes_per_s / 1e9:.1f} GB/s read and written"}]
    rows += [
        {"what": f"multiplying {dtype}", "rate": f"{rate / 1e9:,.0f} Gflop/s"}
        for dtype, rate in peak.flops_per_s.items()
    ]
    yield Section(title=f"limits of {jax.device_count()} x {jax.devices()[0].device_kind}", rows=rows)
    for name in options.models:
        base, config = load_model(str(models.folder(name, options.smollm2)), "float32"), models.run_config(name)
        sampling, training = SHAPES[name]
        mesh = parallel.make_mesh(-1)
        params = workloads.on_mesh(mesh, base.params)
        phases = limits.sampling_phases(
            mesh, base.config, params=params, shape=sampling, max_slots=config.sampling.max_slots, rounds=options.rounds
        )
        del params
        mesh = parallel.make_mesh(1, data=-1)  # one policy: rows are sharded
        phases.append(
            limits.update_phase(
                mesh,
                base.config,
                make_params=functools.partial(workloads.on_mesh, mesh, base.params),
                shape=training,
                policy=config.student,
                rounds=options.rounds,
            )
        )
        yield Section(
            title=f"{name}: shares of the limits, float32",
            rows=[phase.row(peak, "float32") for phase in phases],
            note=f"Sampling: {_words(sampling)}; update: {_words(training)}. FLOPs and bytes are the minimum for "
            "this work, from the model's shape.",
        )


def _words(shape: limits.Shape) -> str:
    return f"{shape.rows} rows of {shape.prompt_tokens} + {shape.new_tokens} tokens"
