"""Measures sampling and update of an RLOO step on the embedded model: ours, TRL's RLOOTrainer, Tunix's learner.

All sides use the same prompts, weights and rewards. Every second sample of a group is rewarded, whatever its text, so
that every row has an advantage. The learning rate is too small to move the model, so completions keep their lengths.
"Update" is everything in a step except sampling.
"""

from __future__ import annotations

import contextlib
import dataclasses
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
from soar_jax.checkpoints.base_model import EMBEDDED, EMBEDDED_FOLDER, load_model
from soar_jax.config.sections import PromptsSection
from soar_jax.problems import arithmetic
from soar_jax.rl.advantages import rloo
from soar_jax.rl.population import init_policy, update_policy
from soar_jax.sampling.text import Draw, TextSampler
from soar_jax.telemetry.meter import WorkMeter
from soar_jax.types import TrainBatch

READS = ("cores", "peers")
NUM_PROMPTS, GROUP_SIZE = 8, 16
PROMPT_TOKENS, COMPLETION_TOKENS = 15, 27  # of level-8 questions, solved step by step
PARTS = ("sampling_s", "update_s", "step_s")
# (population, data) sizes of meshes for one policy on the devices of a CPU.
LAYOUTS = {"soar_jax, data=cores": (1, -1), "soar_jax, population=cores": (-1, 1), "soar_jax, one device": (1, 1)}


def questions() -> list[str]:
    """Generates the prompts as texts with an explicit BOS, which all tokenizers here encode alike."""
    rng = np.random.default_rng(0)
    return [f"<bos> textbook {arithmetic.random_dial(rng, 8).text()} ?" for _ in range(NUM_PROMPTS)]


@dataclasses.dataclass
class Ours:
    """Our RLOO step on one mesh layout."""

    population: int
    data: int

    def __post_init__(self) -> None:
        config, base = models.run_config("nano"), load_model(EMBEDDED, "float32")
        self.mesh = parallel.make_mesh(self.population, self.data)
        self.sampler = TextSampler(
            mesh=self.mesh,
            model=base.config,
            tokenizer=base.tokenizer,
            prompts=PromptsSection(bucket_tokens=(PROMPT_TOKENS,)),
            max_slots=config.sampling.max_slots,
            population_batch=config.sampling.population_batch,
            meter=WorkMeter(base.config),
        )
        self.prompts = self.sampler.encode(questions())
        self.loss = workloads.loss(config.student.logprob_chunk_tokens)
        self.rows_per_micro_batch = config.student.rows_per_micro_batch
        params = workloads.on_mesh(self.mesh, base.params)
        self.state = init_policy(params, mesh=self.mesh, model=base.config, optimizer=workloads.OPTIMIZER)

    def step(self, number: int) -> dict[str, float]:
        """Runs a step; returns the seconds of its parts and the mean tokens of a row."""
        started = time.perf_counter()
        settings = self.sampler.settings(COMPLETION_TOKENS, temperature=1.0)
        draw = Draw(key=jax.random.key(number), settings=settings, num_samples=GROUP_SIZE)
        rollouts = self.sampler.sample(self.state.weights, self.prompts, draw)
        self.sampler.texts(rollouts)
        sampled = time.perf_counter()
        rewards = (np.arange(NUM_PROMPTS * GROUP_SIZE) % 2).reshape(NUM_PROMPTS, GROUP_SIZE)
        batch = TrainBatch(
            rollouts=rollouts,
            advantages=parallel.shard_population(self.mesh, np.asarray(rloo(jnp.asarray(rewards))).reshape(-1)),
        )
        self.state, metrics = update_policy(
            self.state,
            batch,
            reference=None,
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
        return _parts(sampled - started, time.perf_counter() - sampled, tokens)


def peer_ways(name: str, cores: int) -> dict[str, dict[str, str]]:
    """Environment variables of the ways to run a peer, by their name in the table."""
    if name == "tunix":
        return {f"{count} devices": {"JAX_NUM_CPU_DEVICES": str(count)} for count in sorted({1, cores})}
    return {f"threads waiting {waiting}": environment for waiting, environment in environments.WAITING.items()}


def _parts(sampling_s: float, update_s: float, tokens: int) -> dict[str, float]:
    rows = NUM_PROMPTS * GROUP_SIZE
    return dict(
        zip((*PARTS, "tokens a row"), (sampling_s, update_s, sampling_s + update_s, tokens / rows), strict=True)
    )


def measure(options: Options) -> Iterator[Section]:
    """Yields one table with a row per side."""
    layouts = {name: Ours(*sizes) for name, sizes in LAYOUTS.items()}
    sides: dict[str, Any] = {name: ours.step for name, ours in layouts.items()}
    with contextlib.ExitStack() as stack:
        for name in options.peers:
            for way, environment in peer_ways(name, options.cores).items():
                sides[f"{name}, {way}"] = _peer_step(stack, name, environment)
        found = interleave.interleave(sides, options.rounds)
    best = min(layouts, key=lambda name: interleave.median([parts["step_s"] for parts in found[name]]))
    yield Section(
        title=f"nano: an RLOO step of {NUM_PROMPTS} prompts x {GROUP_SIZE} samples of "
        f"{COMPLETION_TOKENS} tokens, float32",
        rows=[_row(name, parts, found[best]) for name, parts in found.items()],
        note=f"Median seconds; x is the ratio to {best}.",
    )


def _peer_step(stack: contextlib.ExitStack, name: str, environment: dict[str, str]) -> Any:
    worker = stack.enter_context(environments.start(name, environment))
    more = {"prompt_tokens": PROMPT_TOKENS} if name == "tunix" else {}
    worker.call(
        "rl_start",
        folder=str(EMBEDDED_FOLDER),
        prompts=questions(),
        group_size=GROUP_SIZE,
        max_completion_tokens=COMPLETION_TOKENS,
        learning_rate=workloads.LEARNING_RATE,
        **more,
    )

    def step(_: int) -> dict[str, float]:
        answer = worker.call("rl_step")
        return _parts(answer["sampling_s"], answer["update_s"], answer["tokens"])

    return step


def _row(name: str, rounds: list[dict[str, float]], best: list[dict[str, float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"side": name, "tokens a row": interleave.median([parts["tokens a row"] for parts in rounds])}
    for part in PARTS:
        seconds, best_seconds = ([parts[part] for parts in side] for side in (rounds, best))
        row |= {part: interleave.median(seconds), f"x {part}": interleave.ratio(seconds, best_seconds)}
    return row
