"""Measures the compile time of each program of a run for a TPU slice that is not attached, one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator

import jax

from benchmarks import models
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax.checkpoints.base_model import load_model
from soar_jax.planning.compile_check import abstract_run, compile_all
from soar_jax.planning.target_devices import topology_devices

READS = ("models", "smollm2")
TOPOLOGY = "v6e:4x4"


def measure(options: Options) -> Iterator[Section]:
    """Yields a table per model: seconds and memory of its programs."""
    jax.config.update("jax_enable_compilation_cache", False)
    device, devices = topology_devices(TOPOLOGY)
    for name in options.models:
        config = models.shipped_config(name).for_platform(device.platform)
        model = load_model(str(models.folder(name, options.smollm2)), config.model.dtype).config
        started = time.perf_counter()
        compiled = compile_all(abstract_run(config, model, device, devices), device)
        found = sorted(compiled, key=lambda each: each.place)
        yield Section(
            title=f"{name}: compile time of each program for {TOPOLOGY}",
            rows=[
                {"program": each.program.name, "s": each.compile_s, "GiB of a device": each.needed / 2**30}
                for each in found
            ],
            note=f"In all {time.perf_counter() - started:.0f} s, one after another. `soar-jax compile_check` measures "
            "models that are not at hand, several programs at a time.",
        )
