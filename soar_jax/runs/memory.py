"""Estimates each device's memory during a run from shapes and shardings, without data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from soar_jax import parallel
from soar_jax.config.policy_sections import LoRASection, PolicySection
from soar_jax.config.run_config import RunConfig
from soar_jax.model import layout, lora
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase
from soar_jax.model.parameters import Params, abstract_params, map_table, parameter_table
from soar_jax.rl.policy import PolicySettings, policy_settings
from soar_jax.rl.train_step import OptimizerSettings, TrainState, init_train_state, make_optimizer
from soar_jax.runs.mesh_fit import check_mesh_fit
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.telemetry import costs


def shaped(tree: Any, shardings: Any) -> Any:
    """Makes the `jax.ShapeDtypeStruct`s of a pytree of arrays or shapes, with shardings."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree, shardings
    )


def bytes_a_device(tree: Any) -> int:
    """Computes the bytes of a pytree per device; leaves have shape, dtype and sharding."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def abstract_weights(model: ModelConfig, lora_config: LoRASection | None) -> Params:
    """Makes the shapes and dtypes of a policy's weights, without shardings."""
    if lora_config is None:
        return map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, jnp.float32), parameter_table(model))
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda key: lora.init_adapters(lora_config, model, key), key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractPolicies:
    """Shapes and shardings of the policies that `runs/build.py` and `rl/population.py` make."""

    mesh: parallel.AnyMesh
    model: ModelConfig
    lora_config: LoRASection | None  # None if the whole model is trained

    def frozen_base(self) -> FrozenBase | None:
        """Returns the frozen base of the adapters; None if the whole model is trained."""
        if self.lora_config is None:
            return None
        base = abstract_params(self.model)
        scale: Any = jax.ShapeDtypeStruct((), jnp.float32, sharding=NamedSharding(self.mesh, parallel.REPLICATED))
        return FrozenBase(shaped(base, layout.shardings(self.mesh, self.model, base)), scale)

    def weights(self) -> Params:
        """Returns the weights of one policy."""
        weights = abstract_weights(self.model, self.lora_config)
        return shaped(weights, layout.shardings(self.mesh, self.model, weights))

    def state(self, optimizer: OptimizerSettings) -> TrainState:
        """Returns the weights and optimiser state of one policy."""
        return self._state(optimizer, abstract_weights(self.model, self.lora_config), 0)

    def population(self, optimizer: OptimizerSettings, size: int) -> TrainState:
        """Returns weights and optimiser states of `size` students, leaves [size, ...]."""
        weights = abstract_weights(self.model, self.lora_config)
        stacked = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype), weights)
        return self._state(optimizer, stacked, size)

    def _state(self, optimizer: OptimizerSettings, weights: Params, size: int) -> TrainState:
        adam, num_stacked = make_optimizer(optimizer), int(size > 0)

        def init(weights: Params) -> TrainState:
            return init_train_state(weights, adam)

        state = jax.eval_shape(jax.vmap(init) if size else init, weights)
        own = layout.shardings(self.mesh, self.model, weights=state.weights, num_stacked=num_stacked)
        rest = layout.state_shardings(
            self.mesh, adam, opt_state=state.opt_state, weight_shardings=own, num_stacked=num_stacked
        )
        return shaped(state, TrainState(weights=own, opt_state=rest))


class AbstractRun:
    """Shapes and shardings of a run on a mesh."""

    def __init__(self, config: RunConfig, model: ModelConfig, mesh: parallel.AnyMesh) -> None:
        """Checks that the run fits the mesh.

        Raises:
          SettingsError: the mesh does not divide a size of the run or the model, or a setting is wrong.
        """
        check_mesh_fit(mesh, config)
        self.config, self.mesh, self.model = config, mesh, model
        if config.trained_lora is not None:
            lora.check(config.trained_lora, model)
        self.policies = AbstractPolicies(mesh=mesh, model=model, lora_config=config.trained_lora)
        self.prompt_tokens = self.teacher_prompt_tokens = max(config.prompts.bucket_tokens)  # at most
        self.student, self.teacher = (
            _abstract(policy, model, config.trained_lora) for policy in (config.student, config.teacher)
        )
        # Final students are trained all at once, while the state of the outer loop is in memory.
        self.num_students = max(config.students_at_once, config.final.num_replicas if config.final.students else 0)

    def state(self) -> dict[str, int]:
        """Computes bytes per device of what stays in memory through an outer step, by name."""
        config, one = self.config, bytes_a_device(self.policies.weights())
        teacher = self.policies.state(self.teacher.optimizer)
        sizes = {
            "frozen base": bytes_a_device(self.policies.frozen_base()),
            "base policy": one,
            "teacher": bytes_a_device(teacher.weights),
            "teacher's optimiser": bytes_a_device(teacher.opt_state),
        }
        if config.num_outer_steps or config.source_run:  # otherwise they share the buffers of the base policy
            window = config.promotion.num_kept_students * one
            sizes |= {"baseline student": one, "best student": one, "promotion window": window}
        return {name: size for name, size in sizes.items() if size}

    def population(self) -> dict[str, int]:
        """Computes bytes per device of the largest population, by name."""
        students = self.policies.population(self.student.optimizer, self.num_students)
        sizes = {
            "students": bytes_a_device(students.weights),
            "students' optimisers": bytes_a_device(students.opt_state),
        }
        if self.config.students_at_once < self.config.num_students:
            sizes["best student so far"] = bytes_a_device(self.policies.weights())
        return sizes

    def cache(self) -> int:
        """Computes bytes per device of the largest KV cache."""
        rows = self.config.sampling.population_batch * self.config.sampling.max_slots
        return rows * cache_bytes_per_row(self.config, self.model) // self.mesh.shape[parallel.TENSOR]


def cache_bytes_per_row(config: RunConfig, model: ModelConfig) -> int:
    """Computes the bytes of a row in the largest KV cache: its slots, and the prompt that they are copied from.

    Prompts count in the model's dtype, since their cache is quantized to int8 only after the last layer.
    """
    longest = max(config.student.max_completion_tokens, config.teacher.max_completion_tokens)
    return (2 * max(config.prompts.bucket_tokens) + longest - 1) * costs.cache_bytes_per_token(model)


def _abstract(section: PolicySection, model: ModelConfig, lora: LoRASection | None) -> PolicySettings:
    """Makes the settings of a policy without its tokenizer: the stop ids change no shape."""
    sampling = SamplingSettings(
        max_completion_tokens=section.max_completion_tokens,
        temperature=section.temperature,
        top_p=1.0,
        stop_ids=(0, 1),
        pad_id=0,
    )
    return policy_settings(section, sampling, model=model, lora=lora)


def memory_by_kind(config: RunConfig, model: ModelConfig, mesh: parallel.AnyMesh) -> dict[str, int]:
    """Computes bytes per device during a run, by kind: parameters, optimiser, cache, population.

    Raises:
      SettingsError: the mesh does not divide a size of the run or the model.
    """
    run = AbstractRun(config, model, mesh)
    state = run.state()
    optimizer = state.pop("teacher's optimiser")
    return {
        "parameters": sum(state.values()),
        "optimiser": optimizer,
        "cache": run.cache(),
        "population": sum(run.population().values()),
    }


def memory_summary(config: RunConfig, model: ModelConfig, mesh: parallel.AnyMesh) -> str:
    """Formats the mesh and the memory of each device in two lines.

    Raises:
      SettingsError: as `memory_by_kind`.
    """
    kinds = memory_by_kind(config, model, mesh)
    sizes = "  ".join(f"{name} {size / 2**30:.3g}" for name, size in kinds.items())
    axes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
    students = config.sampling.population_batch
    return (
        f"mesh: {axes}\neach device holds, in GiB: {sizes}  in all {sum(kinds.values()) / 2**30:.3g}; it decodes "
        f"{config.sampling.max_slots} rows {f'of each of {students} students ' if students > 1 else ''}at once and "
        f"trains with remat={config.student.remat!r} (teacher: {config.teacher.remat!r})"
    )
