"""Measures sampling and update of an RLOO step: ours, TRL's RLOOTrainer, Tunix's learner.

All sides use the same prompts, weights and rewards. Every second sample of a group is rewarded, whatever its text, so
that every row has an advantage. The learning rate is too small to move the model, so completions keep their lengths.
"Update" is everything in a step except sampling. Ours decodes all rows at once, as the peers do.

With SmolLM2 all sides together need more than 24 GB of memory: name one peer at a time (`--peers=torch`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import interleave, models, workloads
from benchmarks.options import Options
from benchmarks.peers import environments
from benchmarks.report import Section
from soar_jax import parallel
from soar_jax.checkpoints.base_model import LoadedModel, load_model
from soar_jax.config.sections import PromptsSection
from soar_jax.problems import arithmetic
from soar_jax.rl.advantages import rloo
from soar_jax.rl.population import init_policy, update_policy
from soar_jax.sampling.text import Draw, TextSampler
from soar_jax.telemetry.meter import WorkMeter
from soar_jax.types import TrainBatch

READS = ("cores", "peers", "models", "smollm2")
PARTS = ("sampling_s", "update_s", "step_s")
LAYOUTS = {"soar_jax, data=cores": -1, "soar_jax, one device": 1}  # devices that the rows are sharded over
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")  # a token each in SmolLM2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """An RLOO step of one model."""

    model: str  # of benchmarks/models.py
    folder: pathlib.Path
    num_prompts: int
    group_size: int
    prompt_tokens: int
    completion_tokens: int
    peer_rows: int  # of a peer's micro-batch: all where they fit in memory, which is fastest

    @property
    def num_rows(self) -> int:
        """Number of sampled completions."""
        return self.num_prompts * self.group_size

    def prompts(self) -> list[str]:
        """Generates prompts of `prompt_tokens` tokens, as texts with an explicit BOS, which all sides encode alike."""
        rng = np.random.default_rng(0)
        if self.model == "nano":  # level-8 questions
            return [f"<bos> textbook {arithmetic.random_dial(rng, 8).text()} ?" for _ in range(self.num_prompts)]
        drawn = rng.choice(_WORDS, (self.num_prompts, self.prompt_tokens - 1))
        return ["<|im_start|>" + "".join(f" {word}" for word in words) for words in drawn]


def work_of(name: str, smollm2: str) -> Work:
    """The step that is measured with a model: level-8 questions of nano, solved step by step; random words else."""
    if name == "nano":
        sizes = {"group_size": 16, "prompt_tokens": 15, "completion_tokens": 27, "peer_rows": 128}
    else:
        sizes = {"group_size": 8, "prompt_tokens": 128, "completion_tokens": 64, "peer_rows": 8}
    return Work(model=name, folder=models.folder(name, smollm2), num_prompts=8, **sizes)


@dataclasses.dataclass(kw_only=True)
class Ours:
    """Our RLOO step on one mesh layout."""

    work: Work
    base: LoadedModel
    num_devices: int  # -1: all

    def __post_init__(self) -> None:
        config, base = models.run_config(self.work.model), self.base
        self.mesh = parallel.make_mesh(1, self.num_devices)
        self.sampler = TextSampler(
            mesh=self.mesh,
            model=base.config,
            tokenizer=base.tokenizer,
            prompts=PromptsSection(bucket_tokens=(self.work.prompt_tokens,)),
            max_slots=self.work.num_rows,
            population_batch=1,
            meter=WorkMeter(base.config),
        )
        self.prompts = self.sampler.encode(self.work.prompts())
        lengths = set(np.asarray(self.prompts.lengths).tolist())
        assert lengths == {self.work.prompt_tokens}, f"prompts have {lengths} tokens"
        self.loss = workloads.loss(config.student.logprob_chunk_tokens)
        self.rows_per_micro_batch = config.student.rows_per_micro_batch
        params = workloads.on_mesh(self.mesh, base.params)
        self.state = init_policy(params, mesh=self.mesh, model=base.config, optimizer=workloads.OPTIMIZER)

    def step(self, number: int) -> dict[str, float]:
        """Runs a step; returns the seconds of its parts and the mean tokens of a row."""
        work, started = self.work, time.perf_counter()
        settings = self.sampler.settings(work.completion_tokens, temperature=1.0)
        draw = Draw(key=jax.random.key(number), settings=settings, num_samples=work.group_size)
        rollouts = self.sampler.sample(self.state.weights, self.prompts, draw)
        self.sampler.texts(rollouts)
        sampled = time.perf_counter()
        rewards = (np.arange(work.num_rows) % 2).reshape(work.num_prompts, work.group_size)
        batch = TrainBatch(
            rollouts=rollouts,
            advantages=parallel.shard_population(self.mesh, np.asarray(rloo(jnp.asarray(rewards))).reshape(-1)),
        )
        self.state, metrics = update_policy(
            self.state,
            batch,
            frozen_base=None,
            learning_rate=workloads.LEARNING_RATE,
            mesh=self.mesh,
            model=self.sampler.model,
            loss=self.loss,
            optimizer=workloads.OPTIMIZER,
            rows_per_micro_batch=self.rows_per_micro_batch,
        )
        jax.block_until_ready((self.state, metrics))
        tokens = int(np.asarray(rollouts.lengths).sum())
        return _parts(work, sampled - started, time.perf_counter() - sampled, tokens)


def peer_ways(work: Work, name: str, cores: int) -> dict[str, dict[str, str]]:
    """Environment variables of the ways to run a peer, by their name in the table."""
    if name == "tunix":
        return {f"{count} devices": {"JAX_NUM_CPU_DEVICES": str(count)} for count in sorted({1, cores})}
    # Large products take so long that threads do not wait for each other.
    ways = environments.WAITING if work.model == "nano" else {"by default": environments.WAITING["by default"]}
    return {f"threads waiting {waiting}": environment for waiting, environment in ways.items()}


def _parts(work: Work, sampling_s: float, update_s: float, tokens: int) -> dict[str, float]:
    values = (sampling_s, update_s, sampling_s + update_s, tokens / work.num_rows)
    return dict(zip((*PARTS, "tokens a row"), values, strict=True))


def measure(options: Options) -> Iterator[Section]:
    """Yields a table per model, with a row per side."""
    for name in options.models:
        yield _section(work_of(name, options.smollm2), options)


def _section(work: Work, options: Options) -> Section:
    base = load_model(str(work.folder), "float32")
    layouts = {name: Ours(work=work, base=base, num_devices=num_devices) for name, num_devices in LAYOUTS.items()}
    sides: dict[str, Any] = {name: ours.step for name, ours in layouts.items()}
    with contextlib.ExitStack() as stack:
        for name in options.peers:
            for way, environment in peer_ways(work, name, options.cores).items():
                sides[f"{name}, {way}"] = _peer_step(stack, work, name, environment)
        found = interleave.interleave(sides, options.rounds)
    best = min(layouts, key=lambda name: interleave.median([parts["step_s"] for parts in found[name]]))
    return Section(
        title=f"{work.model}: an RLOO step of {work.num_prompts} prompts of {work.prompt_tokens} tokens x "
        f"{work.group_size} samples of {work.completion_tokens} tokens, float32",
        rows=[_row(name, parts, found[best]) for name, parts in found.items()],
        note=f"Median seconds; x is the ratio to {best}.",
    )


def _peer_step(stack: contextlib.ExitStack, work: Work, name: str, environment: dict[str, str]) -> Any:
    worker = stack.enter_context(environments.start(name, environment))
    more = {"prompt_tokens": work.prompt_tokens} if name == "tunix" else {}
    worker.call(
        "rl_start",
        folder=str(work.folder),
        prompts=work.prompts(),
        group_size=work.group_size,
        max_completion_tokens=work.completion_tokens,
        micro_batch_rows=work.peer_rows,
        learning_rate=workloads.LEARNING_RATE,
        **more,
    )

    def step(_: int) -> dict[str, float]:
        answer = worker.call("rl_step")
        return _parts(work, answer["sampling_s"], answer["update_s"], answer["tokens"])

    return step


def _row(name: str, rounds: list[dict[str, float]], best: list[dict[str, float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"side": name, "tokens a row": interleave.median([parts["tokens a row"] for parts in rounds])}
    for part in PARTS:
        seconds, best_seconds = ([parts[part] for parts in side] for side in (rounds, best))
        row |= {part: interleave.median(seconds), f"x {part}": interleave.ratio(seconds, best_seconds)}
    return row
