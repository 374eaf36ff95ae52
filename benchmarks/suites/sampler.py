"""Sampled tokens/s: ours, transformers' `generate`, Tunix's sampler; same prompts, lengths, distribution, cores."""

from __future__ import annotations

import contextlib
import dataclasses
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
from soar_jax.model.loading import LoadedModel, load_model
from soar_jax.parallel import mesh as parallel
from soar_jax.sampling.sampler import SamplingSettings

READS = ("cores", "peers", "models", "smollm2", "batches", "new_tokens")
PROMPT_TOKENS = 128
MIXED_BATCH = 64
# libgomp's threads wait by spinning, which is quick on idle cores and very slow where anything else runs on them.
WAITING = {"sleeping": {"OMP_WAIT_POLICY": "passive"}, "spinning": {"OMP_WAIT_POLICY": "active"}}
CALIBRATION_TOKENS = 16
HOPELESS = 3  # a way that is so many times slower at first gets no second try


@dataclasses.dataclass(frozen=True)
class Case:
    """What all sides do."""

    batch: int
    new_tokens: int
    stop_ids: tuple[int, ...] = ()  # none: every completion has `new_tokens`

    @property
    def title(self) -> str:
        """The case in a table."""
        return f"mixed, up to {self.new_tokens}" if self.stop_ids else f"all {self.new_tokens}"


@dataclasses.dataclass
class Ours:
    """Our sampler on one model, as the program of its scale uses it."""

    base: LoadedModel
    max_slots: int

    def tokens(self, case: Case, number: int) -> np.ndarray:
        """Completions [B, C] of a round; rows are shared out over the devices as far as they go."""
        mesh = parallel.make_mesh(min(jax.device_count(), case.batch))
        sampler = workloads.row_sampler(mesh, self.base.config, self.max_slots)
        prompts = workloads.random_prompts(self.base.config, case.batch, PROMPT_TOKENS)
        params, settings = workloads.on_mesh(mesh, self.base.params), self.settings(case)
        started = time.perf_counter()
        rollouts = sampler.sample_policy(params, prompts, jax.random.key(number), settings, 1)
        found = np.asarray(rollouts.tokens), np.asarray(rollouts.lengths)
        self.seconds = time.perf_counter() - started
        self.num_tokens = int(found[1].sum())
        return found[0]

    def rate(self, case: Case, number: int) -> float:
        """Tokens/s of a round."""
        self.tokens(case, number)
        return self.num_tokens / self.seconds

    @staticmethod
    def settings(case: Case) -> SamplingSettings:
        """How a case is sampled."""
        return workloads.sampling(case.new_tokens, case.stop_ids or workloads.NEVER)


@dataclasses.dataclass
class Generate:
    """transformers' `generate`, in the way that is fastest for the case: threads, how they wait, kind of cache."""

    workers: dict[str, Worker]  # by how threads wait
    cores: int
    vocab_size: int
    chosen: tuple[str, int, str] = ("", 0, "")

    def choose(self, case: Case) -> str:
        """Finds the fastest way with short completions; what it is."""
        short = dataclasses.replace(case, new_tokens=min(case.new_tokens, CALIBRATION_TOKENS), stop_ids=())
        threads = sorted({1, self.cores})
        best = 0.0
        for way in [(name, n, cache) for name in self.workers for n in threads for cache in ("dynamic", "static")]:
            rate = self._rate(way, short, 0)
            if rate > best / HOPELESS:
                rate = max(rate, self._rate(way, short, 1))
            if rate > best:
                best, self.chosen = rate, way
        name, n, cache = self.chosen
        return f"{cache} cache, {n} {name} thread{'s' * (n > 1)}"

    def rate(self, case: Case, number: int) -> float:
        """Tokens/s of a round."""
        return self._rate(self.chosen, case, number)

    def _rate(self, way: tuple[str, int, str], case: Case, number: int) -> float:
        name, threads, cache = way
        return ask_rate(self.workers[name], self.vocab_size, case, number, threads=threads, cache=cache)


def ask_rate(worker: Worker, vocab_size: int, case: Case, number: int, **how: Any) -> float:
    """Tokens/s of a peer's round."""
    prompts = workloads.random_tokens(vocab_size, case.batch, PROMPT_TOKENS).tolist()
    stops = list(case.stop_ids)
    answer = worker.ask("sample", prompts=prompts, new_tokens=case.new_tokens, stop_ids=stops, seed=number, **how)
    return answer["tokens"] / answer["seconds"]


def stops_for_mean_length(tokens: np.ndarray, mean: float) -> tuple[int, ...]:
    """Tokens that together are about every `mean`-th of those drawn, so that as stop tokens they give mixed lengths."""
    values, counts = np.unique(tokens, return_counts=True)
    room, found = tokens.size / mean, []
    for index in np.argsort(-counts, kind="stable"):
        if counts[index] <= room:
            room -= counts[index]
            found.append(int(values[index]))
    return tuple(found)


def measure(options: Options) -> Iterator[Section]:
    """A table a model."""
    for name in options.models:
        yield Section(
            f"{name}: tokens/s, prompts of {PROMPT_TOKENS} tokens, float32",
            list(_rows(options, name)),
            "Medians; ratios are medians of each round's. In the mixed case the same frequent tokens end a completion "
            "on all sides.",
        )


def _rows(options: Options, name: str) -> Iterator[dict[str, Any]]:
    folder = models.folder(name, options.smollm2)
    base = load_model(str(folder), "float32")
    ours = Ours(base, models.scale(name).sampling.max_slots)
    with contextlib.ExitStack() as stack:
        generate, tunix = None, None
        if "torch" in options.peers:
            workers = {way: stack.enter_context(environments.start("torch", env)) for way, env in WAITING.items()}
            for worker in workers.values():
                worker.ask("load", folder=str(folder), dtype="float32", device="cpu")
            generate = Generate(workers, options.cores, base.config.vocab_size)
        if "tunix" in options.peers:
            tunix = stack.enter_context(environments.start("tunix"))
            tunix.ask("load", folder=str(folder), dtype="float32")
        for case in _cases(options, ours):
            yield _row(options.rounds, case, ours, generate, tunix)


def _cases(options: Options, ours: Ours) -> Iterator[Case]:
    for new_tokens in options.new_tokens:
        for batch in options.batches:
            yield Case(batch, new_tokens)
    longest = max(options.new_tokens)
    drawn = ours.tokens(Case(MIXED_BATCH, longest), number=0)
    yield Case(MIXED_BATCH, longest, stops_for_mean_length(drawn, longest / 4))


def _row(rounds: int, case: Case, ours: Ours, generate: Generate | None, tunix: Worker | None) -> dict[str, Any]:
    sides = {"soar_jax": lambda number: ours.rate(case, number)}
    way = generate.choose(case) if generate else ""
    if generate:
        sides["generate"] = lambda number: generate.rate(case, number)
    if tunix:
        sides["tunix"] = lambda number: ask_rate(tunix, ours.base.config.vocab_size, case, number)
    rates = interleave.interleave(sides, rounds)
    row: dict[str, Any] = {"batch": case.batch, "new tokens": case.title}
    for side, values in rates.items():
        row |= {side: interleave.median(values), f"{side}, range": interleave.spread(values)}
    for side in list(rates)[1:]:
        row[f"x {side}"] = interleave.ratio(rates["soar_jax"], rates[side])
    return row | ({"generate with": way} if way else {})
