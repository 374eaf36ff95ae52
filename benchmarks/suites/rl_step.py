"""One RLOO step on the embedded model, sampling and update apart: ours, TRL's RLOOTrainer, Tunix's learner.

All sides answer the same prompts from the same weights with the same reward, which depends on a sample's number alone:
every second sample of a group has 1, so that every row has an advantage. The learning rate is too small to move the
model, so completions keep their lengths. "Update" is all of a step that is not sampling.
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

from benchmarks import interleave, workloads
from benchmarks.options import Options
from benchmarks.peers import environments
from benchmarks.report import Section
from configs import scales
from soar_jax import parallel
from soar_jax.checkpoints.base_model import EMBEDDED, EMBEDDED_FOLDER, load_model
from soar_jax.problems import arithmetic
from soar_jax.problems.prompts import PromptSettings
from soar_jax.rl.advantages import rloo
from soar_jax.rl.population import init_policy, update_policy
from soar_jax.sampling.text import TextSampler
from soar_jax.types import TrainBatch

READS = ("cores", "peers")
NUM_PROMPTS, GROUP_SIZE = 8, 16
PROMPT_TOKENS, COMPLETION_TOKENS = 15, 27  # of level-8 questions that are worked step by step
PARTS = ("sampling_s", "update_s", "step_s")
# How a mesh of the two devices of a CPU can be used for one policy.
LAYOUTS = {"soar_jax, data=cores": (1, -1), "soar_jax, population=cores": (-1, 1), "soar_jax, one device": (1, 1)}


def questions() -> list[str]:
    """The prompts as texts, BOS written out, which every tokenizer here reads the same."""
    rng = np.random.default_rng(0)
    return [f"<bos> textbook {arithmetic.random_dial(rng, 8).text()} ?" for _ in range(NUM_PROMPTS)]


@dataclasses.dataclass
class Ours:
    """Our step on one layout of the mesh."""

    population: int
    data: int

    def __post_init__(self) -> None:
        """Loads the model and makes its optimiser."""
        config, base = scales.nano(), load_model(EMBEDDED, "float32")
        self.mesh = parallel.make_mesh(self.population, self.data)
        self.sampler = TextSampler(
            mesh=self.mesh,
            model=base.config,
            tokenizer=base.tokenizer,
            prompts=PromptSettings(student="", teacher="", bucket_tokens=(PROMPT_TOKENS,)),
            max_slots=config.sampling.max_slots,
            population_batch=config.sampling.population_batch,
        )
        self.prompts = self.sampler.encode(questions())
        self.loss = workloads.loss(config.student.logprob_chunk_tokens)
        self.rows_per_micro_batch = config.student.rows_per_micro_batch
        params = workloads.on_mesh(self.mesh, base.params)
        self.state = init_policy(params, mesh=self.mesh, model=base.config, optimizer=workloads.OPTIMIZER)

    def step(self, number: int) -> dict[str, float]:
        """Seconds of a step's parts."""
        started = time.perf_counter()
        settings = self.sampler.settings(COMPLETION_TOKENS, temperature=1.0)
        rollouts = self.sampler.sample_policy(
            self.state.weights,
            self.prompts,
            key=jax.random.key(number),
            settings=settings,
            samples_per_prompt=GROUP_SIZE,
        )
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
            frozen=None,
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
    """The environments in which a peer is tried, by what a table calls them."""
    if name == "tunix":
        return {f"{count} devices": {"JAX_NUM_CPU_DEVICES": str(count)} for count in sorted({1, cores})}
    return {f"threads waiting {waiting}": environment for waiting, environment in environments.WAITING.items()}


def _parts(sampling_s: float, update_s: float, tokens: int) -> dict[str, float]:
    rows = NUM_PROMPTS * GROUP_SIZE
    return dict(
        zip((*PARTS, "tokens a row"), (sampling_s, update_s, sampling_s + update_s, tokens / rows), strict=True)
    )


def measure(options: Options) -> Iterator[Section]:
    """A row a side and part."""
    layouts = {name: Ours(*sizes) for name, sizes in LAYOUTS.items()}
    sides: dict[str, Any] = {name: ours.step for name, ours in layouts.items()}
    with contextlib.ExitStack() as stack:
        for name in options.peers:
            for way, environment in peer_ways(name, options.cores).items():
                sides[f"{name}, {way}"] = _peer_step(stack, name, environment)
        found = interleave.interleave(sides, options.rounds)
    best = min(layouts, key=lambda name: interleave.median([parts["step_s"] for parts in found[name]]))
    yield Section(
        title=f"nano: an RLOO step of {NUM_PROMPTS} prompts x {GROUP_SIZE} samples of {COMPLETION_TOKENS} tokens, float32",
        rows=[_row(name, parts, found[best]) for name, parts in found.items()],
        note=f"Median seconds; x is how many times as long as with {best}.",
    )


def _peer_step(stack: contextlib.ExitStack, name: str, environment: dict[str, str]) -> Any:
    worker = stack.enter_context(environments.start(name, environment))
    more = {"prompt_tokens": PROMPT_TOKENS} if name == "tunix" else {}
    worker.ask(
        "rl_start",
        folder=str(EMBEDDED_FOLDER),
        prompts=questions(),
        group_size=GROUP_SIZE,
        max_completion_tokens=COMPLETION_TOKENS,
        learning_rate=workloads.OPTIMIZER.learning_rate,
        **more,
    )

    def step(_: int) -> dict[str, float]:
        answer = worker.ask("rl_step")
        return _parts(answer["sampling_s"], answer["update_s"], answer["tokens"])

    return step


def _row(name: str, rounds: list[dict[str, float]], best: list[dict[str, float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"side": name, "tokens a row": interleave.median([parts["tokens a row"] for parts in rounds])}
    for part in PARTS:
        theirs, ours = ([parts[part] for parts in these] for these in (rounds, best))
        row |= {part: interleave.median(theirs), f"x {part}": interleave.ratio(theirs, ours)}
    return row
