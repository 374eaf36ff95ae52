"""Measures sampled tokens/s of our sampler, transformers' `generate` and Tunix's sampler.

All sides use the same prompts, lengths, distribution and cores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import interleave, models, workloads
from benchmarks.options import Options
from benchmarks.peers import environments
from benchmarks.peers.process import Worker
from benchmarks.report import Section
from soar_jax import parallel
from soar_jax.checkpoints.base_model import LoadedModel, load_model
from soar_jax.sampling.text import Draw

READS = ("cores", "peers", "models", "smollm2", "batches", "new_tokens", "cases")
PROMPT_TOKENS = 128
MIXED_BATCH = SHARED_BATCH = 64
SHARING = (8, 32)  # samples of each prompt
CALIBRATION_TOKENS = 16
NEAR = 1.15  # ways at most this much slower with short completions are measured with the case's own length
Way = tuple[Worker, dict[str, Any]]  # a worker, and arguments of its `sample`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A batch to sample."""

    batch: int
    new_tokens: int
    stop_ids: tuple[int, ...] = ()  # none: every completion has `new_tokens` tokens
    samples_per_prompt: int = 1

    @property
    def title(self) -> str:
        """Name of the case in the table."""
        title = f"mixed, up to {self.new_tokens}" if self.stop_ids else f"all {self.new_tokens}"
        return title if self.samples_per_prompt == 1 else f"{title}, {self.samples_per_prompt} of a prompt"

    @property
    def num_prompts(self) -> int:
        """Number of different prompts."""
        return self.batch // self.samples_per_prompt


@dataclasses.dataclass(kw_only=True)
class Ours:
    """Our sampler with one model, as the shipped config of its scale uses it."""

    base: LoadedModel
    max_slots: int
    num_devices: int = 1

    def choose(self, case: Case) -> str:
        """Chooses the number of devices with the fastest short completions; returns its name.

        One device uses all cores too: many small products are faster on several devices, few large ones on one.
        """
        rates = {}
        for self.num_devices in sorted({1, min(jax.device_count(), case.batch)}):
            self.tokens(_short(case), 0)  # compiles
            rates[self.num_devices] = self.rate(_short(case), 1)
        self.num_devices = max(rates, key=rates.__getitem__)
        return f"{self.num_devices} devices"

    def tokens(self, case: Case, number: int) -> np.ndarray:
        """Samples the completions [B, C] of a round."""
        mesh = parallel.make_mesh(self.num_devices)
        sampler = workloads.row_sampler(mesh, self.base.config, self.max_slots)
        prompts = workloads.random_prompts(self.base.config, case.num_prompts, PROMPT_TOKENS)
        params = workloads.on_mesh(mesh, self.base.params)
        settings = workloads.sampling(case.new_tokens, case.stop_ids or workloads.NEVER)
        draw = Draw(key=jax.random.key(number), settings=settings, num_samples=case.samples_per_prompt)
        started = time.perf_counter()
        rollouts = sampler.sample(params, prompts, draw)
        tokens, lengths = np.asarray(rollouts.tokens), np.asarray(rollouts.lengths)
        self.seconds = time.perf_counter() - started
        self.num_tokens = int(lengths.sum())
        return tokens

    def rate(self, case: Case, number: int) -> float:
        """Tokens/s of a round."""
        self.tokens(case, number)
        return self.num_tokens / self.seconds


@dataclasses.dataclass(kw_only=True)
class Peer:
    """A peer's sampler, run in the way that is fastest for each case."""

    vocab_size: int
    ways: dict[str, Way]  # by their name in the table
    chosen: str = ""

    def __post_init__(self) -> None:
        self._short_rates: dict[tuple[str, Case], float] = {}

    def choose(self, case: Case) -> str:
        """Chooses the fastest way by short completions, then by the case among the best; returns its name."""
        rates = {way: self._short_rate(way, _short(case)) for way in self.ways}
        near = [way for way, rate in rates.items() if rate * NEAR >= max(rates.values())]
        if len(near) > 1:
            rates = {way: self._rate(way, case, 0) for way in near}
        self.chosen = max(rates, key=rates.__getitem__)
        return self.chosen

    def rate(self, case: Case, number: int) -> float:
        """Tokens/s of a round."""
        return self._rate(self.chosen, case, number)

    def _short_rate(self, way: str, case: Case) -> float:
        if (way, case) not in self._short_rates:
            self._rate(way, case, 0)  # compiles
            self._short_rates[way, case] = self._rate(way, case, 1)
        return self._short_rates[way, case]

    def _rate(self, way: str, case: Case, number: int) -> float:
        worker, arguments = self.ways[way]
        prompts = workloads.random_tokens(self.vocab_size, case.num_prompts, PROMPT_TOKENS)
        repeated, stops = np.repeat(prompts, case.samples_per_prompt, axis=0).tolist(), list(case.stop_ids)
        answer = worker.call(
            "sample", prompts=repeated, new_tokens=case.new_tokens, stop_ids=stops, seed=number, **arguments
        )
        return answer["tokens"] / answer["seconds"]


def _short(case: Case) -> Case:
    return dataclasses.replace(case, new_tokens=min(case.new_tokens, CALIBRATION_TOKENS), stop_ids=())


def stops_for_mean_length(tokens: np.ndarray, mean: float) -> tuple[int, ...]:
    """Chooses tokens that together are about every `mean`-th sampled token: stop tokens that give mixed lengths."""
    values, counts = np.unique(tokens, return_counts=True)
    room, found = tokens.size / mean, []
    for index in np.argsort(-counts, kind="stable"):
        if counts[index] <= room:
            room -= counts[index]
            found.append(int(values[index]))
    return tuple(found)


def measure(options: Options) -> Iterator[Section]:
    """Yields a table per model."""
    for name in options.models:
        yield Section(
            title=f"{name}: tokens/s, prompts of {PROMPT_TOKENS} tokens, float32",
            rows=list(_rows(options, name)),
            note="Medians; a ratio is the median of the ratios of the rounds. In the mixed case, the same frequent "
            "tokens end a completion on all sides.",
        )


def _rows(options: Options, name: str) -> Iterator[dict[str, Any]]:
    folder = models.folder(name, options.smollm2)
    base = load_model(str(folder), "float32")
    ours = Ours(base=base, max_slots=models.run_config(name).sampling.max_slots)
    with contextlib.ExitStack() as stack:
        peers = {
            name: Peer(vocab_size=base.config.vocab_size, ways=dict(ways(stack, str(folder), options.cores)))
            for peer, (name, ways) in PEER_SAMPLERS.items()
            if peer in options.peers
        }
        for case in _cases(options, ours):
            yield _row(options.rounds, case, ours=ours, peers=peers)


def _generate_ways(stack: contextlib.ExitStack, folder: str, cores: int) -> Iterator[tuple[str, Way]]:
    for waiting, environment in environments.WAITING.items():
        worker = stack.enter_context(environments.start("torch", environment))
        worker.call("load", folder=folder, dtype="float32", device="cpu")
        for threads in sorted({1, cores}):
            for cache in ("dynamic", "static"):
                yield (
                    f"{cache} cache, {threads} threads waiting {waiting}",
                    (worker, {"threads": threads, "cache": cache}),
                )


def _tunix_ways(stack: contextlib.ExitStack, folder: str, cores: int) -> Iterator[tuple[str, Way]]:
    for devices in sorted({1, cores}):
        worker = stack.enter_context(environments.start("tunix", {"JAX_NUM_CPU_DEVICES": str(devices)}))
        worker.call("load", folder=folder, dtype="float32")
        yield f"{devices} devices", (worker, {})


# Per peer: the name of its sampler, and the ways to run it.
PEER_SAMPLERS = {"torch": ("generate", _generate_ways), "tunix": ("tunix", _tunix_ways)}


def _cases(options: Options, ours: Ours) -> Iterator[Case]:
    shortest, longest = min(options.new_tokens), max(options.new_tokens)
    if "equal" in options.cases:
        for new_tokens in options.new_tokens:
            for batch in options.batches:
                yield Case(batch=batch, new_tokens=new_tokens)
    if "shared" in options.cases:
        for samples in SHARING:
            yield Case(batch=SHARED_BATCH, new_tokens=shortest, samples_per_prompt=samples)
    if "mixed" in options.cases:
        drawn = ours.tokens(Case(batch=MIXED_BATCH, new_tokens=longest), number=0)
        yield Case(batch=MIXED_BATCH, new_tokens=longest, stop_ids=stops_for_mean_length(drawn, longest / 4))


def _row(rounds: int, case: Case, ours: Ours, peers: dict[str, Peer]) -> dict[str, Any]:
    sides: dict[str, Ours | Peer] = {"soar_jax": ours, **peers}
    ways = {f"{name} with": side.choose(case) for name, side in sides.items()}
    rates = interleave.interleave({name: functools.partial(side.rate, case) for name, side in sides.items()}, rounds)
    row: dict[str, Any] = {"batch": case.batch, "new tokens": case.title}
    for name, values in rates.items():
        row |= {name: interleave.median(values), f"{name}, range": interleave.spread(values)}
    for name in peers:
        row[f"x {name}"] = interleave.ratio(rates["soar_jax"], rates[name])
    return row | ways
