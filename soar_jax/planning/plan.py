"""From a run's calls to its operations, bytes, hours and money on a topology."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from jax.sharding import AbstractMesh

from soar_jax import parallel
from soar_jax.config.policy_sections import PolicySection
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import require
from soar_jax.integers import ceil_div
from soar_jax.model import lora
from soar_jax.model.config import ModelConfig
from soar_jax.rl.losses import completion_widths
from soar_jax.runs.calls import Call, RunPhase, Sizes, run_calls
from soar_jax.runs.memory_fit import fit_to_memory
from soar_jax.runs.mesh_fit import check_mesh_fit
from soar_jax.sampling import ring
from soar_jax.sampling.sampler import slot_schedule
from soar_jax.telemetry import costs
from soar_jax.telemetry.devices import H100, Topology

_OF_TEACHER = "update_policy", "policy_reference_logprobs"  # programs that train, or evaluate its reference
PAPER_GPU_HOURS = (1536, 1920)  # of H100 or H200, a run of the paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a plan takes for granted."""

    sizes: Sizes
    completion_share: float  # mean completion, as share of the limit
    prompt_tokens: int  # that a prompt is padded to; 0 takes the config's middle bucket
    trained_share: float  # of the rows, that have a signal: an advantage that is not zero
    mfu: float  # operations done, as share of the peak, in training and prefill
    bandwidth_share: float  # memory traffic done, as share of the peak, in decoding
    tokens_per_s: float  # sampled by one chip, where that has been measured; 0 takes the roofline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What some work takes; costs add up."""

    rollouts: int = 0
    prompt_tokens: int = 0  # prefilled
    sampled_tokens: int = 0
    sampling_flops: float = 0.0
    sampling_bytes: float = 0.0  # that decoding reads from memory, all chips together
    training_flops: float = 0.0
    sampling_s: float = 0.0
    training_s: float = 0.0

    @property
    def flops(self) -> float:
        """All operations."""
        return self.sampling_flops + self.training_flops

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.sampling_s + self.training_s

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{name: value + getattr(other, name) for name, value in dataclasses.asdict(self).items()})

    def over(self, count: int) -> Cost:
        """The `count`-th part; numbers of rollouts and tokens are rounded."""
        parts = {name: value / count for name, value in dataclasses.asdict(self).items()}
        counts = {name: round(parts[name]) for name in ("rollouts", "prompt_tokens", "sampled_tokens")}
        return Cost(**parts | counts)

    def times(self, count: int) -> Cost:
        """This, `count` times."""
        return Cost(**{name: count * value for name, value in dataclasses.asdict(self).items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run costs."""

    topology: Topology
    phases: tuple[tuple[RunPhase, Cost], ...]  # each with the cost of one repeat
    usd_per_chip_hour: float
    state_bytes: float  # weights and optimisers of the population and the teacher, which the chips must hold at least

    @property
    def total(self) -> Cost:
        """The whole run."""
        return sum((cost.times(phase.repeats) for phase, cost in self.phases), Cost())

    @property
    def chip_hours(self) -> float:
        """Hours of all chips."""
        return self.total.seconds * self.topology.num_chips / 3600

    @property
    def h100_hours(self) -> float:
        """Hours of H100 that do the same: training by peak operations, sampling by memory bandwidth."""
        device, total = self.topology.device, self.total
        training = total.training_s * device.peak_flops / H100.peak_flops
        sampling = total.sampling_s * device.bandwidth / H100.bandwidth
        return (training + sampling) * self.topology.num_chips / 3600

    @property
    def usd(self) -> float:
        """Price of all chip-hours, in US dollars."""
        return self.chip_hours * self.usd_per_chip_hour

    @property
    def memory_bytes(self) -> float:
        """Memory of all chips."""
        return self.topology.num_chips * self.topology.device.memory_bytes


def padded_prompt(config: RunConfig, assumed: Assumptions) -> int:
    """Tokens that a prompt is padded to: as assumed, or the middle one of the config's buckets."""
    buckets = sorted(config.prompts.bucket_tokens)
    return assumed.prompt_tokens or buckets[len(buckets) // 2]


def make_plan(
    config: RunConfig,
    model: ModelConfig,
    topology: Topology,
    assumed: Assumptions,
    usd_per_chip_hour: float | None = None,
) -> Plan:
    """Plans a run of a method config with a model.

    Work is split as the config's mesh splits it; the time of grading, compiling and checkpoints is left out.

    Args:
      usd_per_chip_hour: None takes the device's list price.

    Raises:
      SettingsError: an assumption is out of its range, the mesh does not fit the topology or the config, or the model
        cannot have the config's adapters.
    """
    _check(assumed)
    sizes = config.mesh
    mesh = parallel.abstract_mesh(
        topology.num_chips, population=sizes.population, data=sizes.data, fsdp=sizes.fsdp, tensor=sizes.tensor
    )
    check_mesh_fit(mesh, config)
    model = dataclasses.replace(model, int8_cache=config.model.int8_cache)
    config = fit_to_memory(config, model, mesh, memory_bytes=topology.device.memory_bytes)
    counter = _Counter(config, model, topology=topology, assumed=assumed, mesh=mesh)
    by_phase = itertools.groupby(run_calls(config, assumed.sizes), key=lambda call: call.phase)
    costs_by_phase = ((phase, counter.cost(calls)) for phase, calls in by_phase)
    phases = tuple((phase, cost) for phase, cost in costs_by_phase if cost != Cost())
    price = topology.device.usd_per_hour if usd_per_chip_hour is None else usd_per_chip_hour
    state = _state_bytes(config, model)
    return Plan(topology=topology, phases=phases, usd_per_chip_hour=price, state_bytes=state)


def _state_bytes(config: RunConfig, model: ModelConfig) -> float:
    """Bytes of weights and optimisers in training, and of a frozen base, on all chips."""
    lora_config = config.trained_lora
    shared = costs.weight_bytes(model) if lora_config else 0
    return _policies_in_training(config) * costs.training_state_bytes(model, lora_config) + shared


def _policies_in_training(config: RunConfig) -> int:
    """Policies with an optimiser at the same time: a wave of students and the teacher, or final students."""
    students = config.students_at_once if config.trains_students else 0
    return max(students + 1 if config.num_outer_steps else 0, config.final.num_replicas)


def _check(assumed: Assumptions) -> None:
    for name in ("completion_share", "trained_share", "mfu", "bandwidth_share"):
        value = getattr(assumed, name)
        require(0 < value <= 1, f"{name} is {value}; it must be more than 0 and at most 1")
    require(0 < assumed.sizes.hard_share <= 1, f"hard_share is {assumed.sizes.hard_share}; it must be in (0, 1]")
    share = assumed.sizes.accepted_share
    require(0 < share <= 1, f"accepted_share is {share}; it must be more than 0 and at most 1")
    require(assumed.sizes.num_promotions >= 0, f"promotions is {assumed.sizes.num_promotions}; it must be 0 or more")
    require(assumed.prompt_tokens >= 0, f"prompt_tokens is {assumed.prompt_tokens}; it must be 0 (a bucket) or more")
    require(assumed.tokens_per_s >= 0, f"tokens_per_s is {assumed.tokens_per_s}; it must be 0 (roofline) or more")


class _Counter:
    """Counts what calls cost with one model on the mesh of one topology."""

    def __init__(
        self, config: RunConfig, model: ModelConfig, topology: Topology, assumed: Assumptions, mesh: AbstractMesh
    ) -> None:
        """Reads what matters off the config."""
        self._model, self._assumed, self._chips = model, assumed, mesh.size
        self._shards, self._tensor = mesh.shape[parallel.POPULATION], mesh.shape[parallel.TENSOR]
        self._row_shards = mesh.shape[parallel.DATA] * mesh.shape[parallel.FSDP]
        self._flops_per_s = topology.device.peak_flops * assumed.mfu
        self._bytes_per_s = topology.device.bandwidth * assumed.bandwidth_share
        self._prompt = padded_prompt(config, assumed)
        self._max_slots = config.sampling.max_slots
        self._student, self._teacher = config.student, config.teacher
        self._population_batch = config.sampling.population_batch
        self.lora_config = config.trained_lora
        if self.lora_config is not None:
            lora.check(self.lora_config, model)

    def cost(self, calls: Iterable[Call]) -> Cost:
        """The cost of one repeat of the calls' phase; those without rows cost nothing."""
        return sum((self._cost(call) for call in calls if call.samples), Cost())

    def _cost(self, call: Call) -> Cost:
        if call.is_reference:
            return self._evaluate_reference(call)
        return self._update(call) if call.updates else self._draw(call)

    def _draw(self, draw: Call) -> Cost:
        prompts, tokens = draw.policies * draw.prompts, max(1, round(self._assumed.completion_share * draw.max_tokens))
        prefill = prompts * costs.prefill_flops(self._model, self._prompt)
        decode = draw.rollouts * costs.decode_flops(self._model, self._prompt, tokens)
        seconds, read = self._decoding(draw, tokens)
        if self._assumed.tokens_per_s:
            seconds = draw.rollouts * tokens / (self._assumed.tokens_per_s * self._chips)
        else:
            seconds += prefill / (self._chips * self._flops_per_s)
        return Cost(
            rollouts=draw.rollouts,
            prompt_tokens=prompts * self._prompt,
            sampled_tokens=draw.rollouts * tokens,
            sampling_flops=prefill + decode,
            sampling_bytes=read,
            sampling_s=seconds,
        )

    def _decoding(self, draw: Call, tokens: int) -> tuple[float, float]:
        """Seconds and bytes read of decoding completions of `tokens` on average, as `sampling/sampler.py` does it.

        A shard of the population decodes its policies a batch at a time, or a part of the rows of a single policy. In a
        shard, rows are split further, and weights and caches by the tensor axis. A chip decodes its rows in a number
        of slots, a finished row making room for the next, until the last ends, which is taken to be at the limit.
        Every step reads the weights once and the caches of all slots.
        """
        per_call = min(draw.prompts, draw.prompts_per_call)
        num_calls = ceil_div(draw.prompts, per_call) * ceil_div(draw.policies, draw.policies_per_call)
        policies, parts = 1, self._shards * self._row_shards  # on a chip, and of a policy's rows
        if draw.program == "sample_population":
            policies = ceil_div(draw.policies_per_call - draw.one_more, self._shards) + draw.one_more
            parts = self._row_shards
        slots, width = self._steps(ceil_div(per_call * draw.samples, parts), tokens, draw.max_tokens)
        weights = float(slots.size * self._weight_reads(policies) * costs.matrix_bytes(self._model))
        cache = policies * float((slots * (self._prompt + width)).sum()) * costs.cache_bytes_per_token(self._model)
        chip_bytes = (weights + cache) / self._tensor
        row_flops = costs.decode_flops(self._model, self._prompt, draw.max_tokens) / max(1, draw.max_tokens - 1)
        chip_flops = policies * float(slots.sum()) * row_flops / self._tensor
        chip_s = max(chip_bytes / self._bytes_per_s, chip_flops / self._flops_per_s)
        return num_calls * chip_s, num_calls * self._chips * chip_bytes

    def _steps(self, rows: int, mean_tokens: int, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Slots and completion tokens whose cache is read, at each decoding step of a chip's rows.

        The ring is as wide as the steps made so far need. When no row waits, those left become fewer as lengths that
        are spread evenly about their mean make them, and slots are halved with them.
        """
        num_slots = min(self._max_slots, rows)
        refilled = (ceil_div(rows, num_slots) - 1) * mean_tokens
        step = np.arange(refilled + max_tokens - 1)
        widths = np.array(ring.sizes(max_tokens - 1))
        width = widths[np.minimum(np.searchsorted(widths, step, side="right"), widths.size - 1)]
        spread = min(mean_tokens, max_tokens - mean_tokens)
        slots = np.full(step.shape, num_slots)
        for fewer in slot_schedule(num_slots, max_tokens):
            share_ended = 1 - fewer / num_slots
            fits = step - refilled >= mean_tokens + spread * (2 * share_ended - 1)
            slots[fits & (width == widths[-1])] = fewer
        return slots, width

    def _weight_reads(self, policies: int) -> int:
        """Times that a step reads the weights: once for each batch of policies that share a frozen base."""
        return ceil_div(policies, self._population_batch) if self.lora_config else policies

    def _update(self, update: Call) -> Cost:
        """Rows are padded to their bucket; those whose advantage is zero are not computed."""
        policy = self._policy(update)
        share = 1.0 if policy.kl_in_loss else self._assumed.trained_share
        prompt = self._training_flops(policy, 1, num_completions=0)
        rows = sum(
            part * (self._training_flops(policy, width, num_completions=1) - prompt)
            for width, part in self._widths(policy)
        )
        return self._training(update, share * (update.prompts_trained * prompt + update.rows_trained * rows))

    def _evaluate_reference(self, call: Call) -> Cost:
        """The reference's forward pass; rows are padded to their bucket."""
        prompt = self._reference_flops(1, num_completions=0)
        rows = sum(
            part * (self._reference_flops(width, num_completions=1) - prompt)
            for width, part in self._widths(self._policy(call))
        )
        return self._training(call, call.prompts_trained * prompt + call.rows_compared * rows)

    def _reference_flops(self, width: int, num_completions: int) -> int:
        """FLOPs of the reference for a prompt with some completions of `width` tokens."""
        return costs.reference_flops(self._model, self._prompt, width, num_completions=num_completions)

    def _policy(self, call: Call) -> PolicySection:
        """The policy that an update trains, or whose rows the reference evaluates."""
        return self._teacher if call.program in _OF_TEACHER else self._student

    def _training(self, call: Call, flops: float) -> Cost:
        """The cost of operations; those of a single policy are made by each shard of the population."""
        if call.program in _OF_TEACHER:
            flops *= self._shards
        return Cost(training_flops=flops, training_s=flops / (self._chips * self._flops_per_s))

    def _training_flops(self, policy: PolicySection, width: int, num_completions: int) -> float:
        """FLOPs of an update for a prompt with some completions of `width` tokens."""
        return costs.training_flops(
            self._model,
            self._prompt,
            completion_tokens=width,
            remat=policy.remat,
            lora_config=self.lora_config,
            num_completions=num_completions,
        )

    def _widths(self, policy: PolicySection) -> Iterator[tuple[int, float]]:
        """Padded completions with the share of rows that have each; lengths spread evenly about their mean."""
        limit = policy.max_completion_tokens
        mean = self._assumed.completion_share * limit
        spread = min(mean, limit - mean)
        before = 0.0
        for width in completion_widths(policy.completion_buckets, limit):
            held = 1.0 if width == limit else min(1.0, max(0.0, (width - mean + spread) / (2 * spread or 1)))
            yield width, held - before
            before = held
