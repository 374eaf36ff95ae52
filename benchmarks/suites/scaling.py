"""Measures the cost of more devices on the same cores, and the growth of time with population, rows and lengths."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import interleave, models, workloads
from benchmarks.options import Options
from benchmarks.peers.process import Worker
from benchmarks.report import Section
from benchmarks.workloads import PopulationShape
from soar_jax import parallel
from soar_jax.checkpoints.base_model import EMBEDDED, load_model

READS = ("cores",)
ROOT = pathlib.Path(__file__).parent.parent.parent
DEVICES = (1, 2, 4, 8)
BASE = PopulationShape(students=8, prompts=8, group_size=8, prompt_tokens=15, new_tokens=27)
# Sizes to vary one at a time; the others are those of BASE.
GROWTH = {
    "students": (2, 4, 8, 16),
    "group_size": (2, 4, 8, 16, 32),
    "prompt_tokens": (15, 30, 60, 120),
    "new_tokens": (14, 27, 54, 108),
}


def measure(options: Options) -> Iterator[Section]:
    """Yields a table of device counts, and a table per varied size."""
    yield Section(
        title=f"nano: an inner step of {BASE.students} students on 1 to {DEVICES[-1]} CPU devices",
        rows=_devices(options.rounds),
        note=f"The same work on the same {options.cores} core(s): {_words()}. Median seconds; "
        "x is the ratio to one device.",
    )
    for name, sizes in GROWTH.items():
        yield Section(
            title=f"nano: time against {name}",
            rows=_growth(options.rounds, name, sizes),
            note=f"Other sizes: {_words()}. Median seconds of an inner step; x is the ratio to the row before.",
        )


def _words() -> str:
    return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(BASE).items())


def _devices(rounds: int) -> list[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        workers = {}
        for count in DEVICES:
            worker = stack.enter_context(Worker("soar_worker", sys.executable, {"PYTHONPATH": str(ROOT)}))
            worker.call("start", cpu_devices=count, shape=dataclasses.asdict(BASE))
            workers[str(count)] = worker

        def step(worker: Worker) -> Any:
            def work(number: int) -> tuple[float, float]:
                answer = worker.call("step", number=number)
                return answer["sampling_s"], answer["update_s"]

            return work

        found = interleave.interleave({count: step(worker) for count, worker in workers.items()}, rounds)
    rows = []
    for label, seconds in found.items():
        totals, one = ([sum(parts) for parts in side] for side in (seconds, found[str(DEVICES[0])]))
        rows.append({"devices": int(label), **_medians(seconds), "x": interleave.ratio(totals, one)})
    return rows


def _growth(rounds: int, name: str, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    mesh, base = parallel.make_mesh(-1), load_model(EMBEDDED, "float32")
    params = workloads.on_mesh(mesh, base.params)
    populations = {
        str(size): workloads.Population(
            mesh,
            base.config,
            start=params,
            frozen_base=None,
            shape=dataclasses.replace(BASE, **{name: size}),
            config=models.run_config("nano"),
        )
        for size in sizes
    }
    found = interleave.interleave({size: population.step for size, population in populations.items()}, rounds)
    rows: list[dict[str, Any]] = []
    for label, seconds in found.items():
        medians = _medians(seconds)
        growth = {f"x {part}": medians[part] / rows[-1][part] if rows else 1.0 for part in medians}
        rows.append({name: int(label), **medians, **growth})
    return rows


def _medians(seconds: list[tuple[float, float]]) -> dict[str, float]:
    sampling_s, update_s = zip(*seconds, strict=True)
    return {"sampling_s": interleave.median(list(sampling_s)), "update_s": interleave.median(list(update_s))}
