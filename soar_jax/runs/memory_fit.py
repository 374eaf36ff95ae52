"""Settles what a config leaves to its devices' memory: what they sample at once, and what training recomputes."""

from __future__ import annotations

import dataclasses

from soar_jax import parallel
from soar_jax.config.policy_sections import AUTO_REMAT, PolicySection
from soar_jax.config.run_config import RunConfig
from soar_jax.integers import ceil_div
from soar_jax.model.config import ModelConfig
from soar_jax.runs.memory import AbstractPolicies, AbstractRun, bytes_a_device, cache_bytes_per_row
from soar_jax.telemetry import costs

_CPU_SLOTS = 64
_FEWEST_SLOTS, _MOST_SLOTS = 8, 256
_SLOTS_TOGETHER = 32  # where students decoded together would have fewer each, fewer of them are
_USABLE_SHARE = 0.85  # of a device's memory; the rest is for the program, its temporaries and fragments
_KEPT_SHARE = 0.5  # of what is free in training; the rest is for logits, a layer's temporaries and their gradients


def fit_to_memory(
    config: RunConfig, model: ModelConfig, mesh: parallel.AnyMesh, *, memory_bytes: float | None, trains: bool = True
) -> RunConfig:
    """Settles `sampling.population_batch` 0, `sampling.max_slots` 0 and `remat` "auto" for a mesh's devices.

    Args:
      memory_bytes: of a device; None where it is not known, as a CPU's.
      trains: whether the state of a run is in memory, or the model alone.
    """
    if memory_bytes is None:
        return fit_to_cpu(config)
    taken = bytes_a_device(AbstractPolicies(mesh=mesh, model=model, lora_config=None).weights())
    if trains:
        run = AbstractRun(config, model, mesh)
        taken = sum(run.state().values()) + sum(run.population().values())
        config = _with_remat(config, run, free_bytes=_USABLE_SHARE * memory_bytes - taken)

    def slots(batch: int) -> int:
        fitted = _with_sampling(config, population_batch=batch)
        tensor = mesh.shape[parallel.TENSOR]
        return fitting_slots(fitted, model, memory_bytes=memory_bytes, taken_bytes=taken, num_tensor_shards=tensor)

    students = _students_of_one_base(config, mesh)
    batches = [size for size in range(1, students + 1) if students % size == 0]
    batch = max(size for size in batches if size == 1 or slots(size) >= _SLOTS_TOGETHER)
    return _with_sampling(config, population_batch=batch, max_slots=slots(batch))


def fit_to_cpu(config: RunConfig) -> RunConfig:
    """Settles the same for a CPU, which runs one student after another and is fastest with products kept.

    They are not counted: those of a micro-batch are less than a student's optimiser.
    """
    return _with_remat(_with_sampling(config, population_batch=1, max_slots=_CPU_SLOTS))


def fitting_slots(
    config: RunConfig, model: ModelConfig, *, memory_bytes: float, taken_bytes: float, num_tensor_shards: int = 1
) -> int:
    """Computes how many rows a device can decode at once, beside what is in its memory: a power of two.

    Counted are the policy's weights as they are computed with, and for each row its cache, its float32 logits and as
    much again twice for what sampling makes of them. With more rows than the most, a step mostly reads the cache, and
    takes longer by as much as it makes more.
    """
    batch = config.sampling.population_batch
    weights = costs.weight_bytes(model) * (1 if config.trained_lora else batch) / num_tensor_shards
    row = (cache_bytes_per_row(config, model) + 3 * 4 * model.vocab_size) / num_tensor_shards
    fitting = max(1, int((_USABLE_SHARE * memory_bytes - taken_bytes - weights) / (row * batch)))
    return min(_MOST_SLOTS, max(_FEWEST_SLOTS, 2 ** (fitting.bit_length() - 1)))


def kept_bytes(run: AbstractRun, section: PolicySection, num_policies: int = 1) -> float:
    """Computes the bytes per device that `remat` "dots" keeps of a micro-batch, and of the prompts beside it."""
    mesh = run.mesh
    row_shards = mesh.shape[parallel.DATA] * mesh.shape[parallel.FSDP]
    rows = num_policies * ceil_div(section.rows_per_micro_batch, row_shards)
    tokens = rows * (run.prompt_tokens + section.max_completion_tokens)
    return tokens * costs.product_bytes_per_token(run.model, run.config.trained_lora) / mesh.shape[parallel.TENSOR]


def _students_of_one_base(config: RunConfig, mesh: parallel.AnyMesh) -> int:
    """Students of a shard if they share a frozen base, which is then read once for all; otherwise 1."""
    if config.trained_lora is None:
        return 1
    outer = config.students_at_once if config.measures_students else 0
    final = config.final.num_replicas if config.final.students else 0
    return max(1, ceil_div(max(outer, final), mesh.shape[parallel.POPULATION]))


def _with_sampling(config: RunConfig, **chosen: int) -> RunConfig:
    """The config with numbers of its section `sampling` where it has 0."""
    settled = {name: getattr(config.sampling, name) or value for name, value in chosen.items()}
    return dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, **settled))


def _with_remat(config: RunConfig, run: AbstractRun | None = None, free_bytes: float = 0.0) -> RunConfig:
    """The config with `remat` "dots" in place of "auto" where the kept products fit into a run, otherwise "layers"."""

    def remat(section: PolicySection, num_policies: int) -> str:
        if section.remat != AUTO_REMAT:
            return section.remat
        if run is None:
            return "dots"
        one_a_shard = run.policies.population(run.student.optimizer, run.mesh.shape[parallel.POPULATION])
        gradients = num_policies * bytes_a_device(one_a_shard.weights)
        fits = kept_bytes(run, section, num_policies) <= _KEPT_SHARE * (free_bytes - gradients)
        return "dots" if fits else "layers"

    student = dataclasses.replace(config.student, remat=remat(config.student, config.inner.update_batch))
    teacher = dataclasses.replace(config.teacher, remat=remat(config.teacher, 1))
    return dataclasses.replace(config, student=student, teacher=teacher)
