"""The compiled programs of a run, without its arrays.

They are the jitted functions that a run calls (`runs/calls.py`), each with the static arguments and the largest shapes
that it has in a role, on shapes with shardings.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from soar_jax import parallel
from soar_jax.evaluation.embedding import mean_pooled
from soar_jax.integers import ceil_div
from soar_jax.parallel.ahead import AheadJit
from soar_jax.rl.policy import PolicySettings
from soar_jax.rl.population import (
    changed_shares,
    init_population,
    policy_reference_logprobs,
    population_reference_logprobs,
    take_student,
    update_policy,
    update_population,
)
from soar_jax.runs.calls import Call, Sizes, run_calls
from soar_jax.runs.memory import AbstractRun
from soar_jax.sampling.sharded import sample_policy, sample_population
from soar_jax.telemetry import costs
from soar_jax.telemetry.meter import TrainedRows
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch

# The most problems that a run can evaluate policies on: all candidates are hard.
LARGEST = Sizes(hard_share=1.0, num_promotions=1, accepted_share=1.0)


_OF_POPULATION = (
    "sample_population",
    "update_population",
    "population_reference_logprobs",
    "changed_shares",
    "take_student",
)
_AFTER_TRAINING = "measuring students", "comparing weights", "taking the best student"  # roles: optimisers are freed
_OF_TEACHER = "update_policy", "policy_reference_logprobs"  # programs that train, or evaluate its reference


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundCall:
    """A jitted function and the shapes of its arguments."""

    function: AheadJit[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]

    @classmethod
    def of(cls, function: AheadJit[..., Any], *args: Any, **named: Any) -> BoundCall:
        """Binds arguments to a function."""
        return cls(function=function, args=args, named=named)

    def lower(self) -> jax.stages.Lowered:
        """Lowers the function for the shapes."""
        return self.function.lower(*self.args, **self.named)

    def compile_ahead(self, threads: concurrent.futures.Executor) -> None:
        """Starts to compile the function for the shapes in a thread."""
        self.function.compile_ahead(threads, *self.args, **self.named)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One program at its largest call."""

    name: str
    lower: Callable[[], jax.stages.Lowered]
    inputs: tuple[str, ...]  # names of the parts of the run's state (`AbstractRun.state`) that are its arguments
    population: tuple[str, ...]  # names of the parts of the population (`AbstractRun.population`) alive while it runs
    flops: float  # operations of one call, all devices together


class RunPrograms:
    """The compiled programs of a config's run."""

    def __init__(self, run: AbstractRun) -> None:
        self.config, self.mesh, self.model, self.policies = run.config, run.mesh, run.model, run.policies
        self.prompt_tokens, self.teacher_prompt_tokens = run.prompt_tokens, run.teacher_prompt_tokens
        self.student, self.teacher, self.num_students = run.student, run.teacher, run.num_students
        self._run = run

    def bind(self, call: Call) -> BoundCall:
        """Returns the shapes of a call of the list."""
        bind: Callable[[Call], BoundCall] = {
            "sample_policy": self._sample_policy,
            "sample_population": self._sample_population,
            "update_policy": self._update_policy,
            "update_population": self._update_population,
            "policy_reference_logprobs": self._policy_reference_logprobs,
            "population_reference_logprobs": self._population_reference_logprobs,
            "init_population": self._init_population,
            "changed_shares": self._changed_shares,
            "take_student": self._take_student,
            "mean_pooled": self._mean_pooled,
        }[call.program]
        return bind(call)

    def _lower(self, call: Call) -> jax.stages.Lowered:
        return self.bind(call).lower()

    def programs(self) -> Iterator[Program]:
        """The program of each role at its largest call, in the order of the run's first calls.

        Every program of a population is that of the most students that are alive at once.
        """
        largest: dict[str, Call] = {}
        for call in run_calls(self.config, LARGEST):
            largest[call.role] = max(largest.get(call.role, call), call, key=self._flops)
        for role, call in largest.items():
            if call.program in (*_OF_POPULATION, "init_population"):
                call = dataclasses.replace(call, policies_per_call=self.num_students + call.one_more)
            yield Program(
                name=role,
                lower=functools.partial(self._lower, call),
                inputs=self._inputs(call),
                population=self._alive(call),
                flops=self._flops(call),
            )

    def _alive(self, call: Call) -> tuple[str, ...]:
        """Names of the parts of the population that are alive during a call."""
        if call.program not in _OF_POPULATION:
            return ()
        freed = ("students' optimisers",) if call.role in _AFTER_TRAINING else ()
        return tuple(name for name in self._run.population() if name not in freed)

    def _inputs(self, call: Call) -> tuple[str, ...]:
        """Names of the parts of the run's state that are arguments of a call."""
        has_steps = self.config.num_outer_steps > 0 or bool(self.config.source_run)
        baseline = "baseline student" if has_steps else "base policy"
        if call.program == "init_population":
            return (baseline,)
        if call.program == "take_student":
            return ("students",)
        if call.program == "changed_shares":
            return ("students", baseline)
        if call.program == "update_population":
            return ("frozen base", "students", "students' optimisers")
        if call.program == "update_policy":
            return ("frozen base", "teacher", "teacher's optimiser")
        if call.is_reference:
            return ("frozen base", "base policy" if call.program in _OF_TEACHER else baseline)
        if call.program == "sample_population":
            return ("frozen base", "students", *(baseline,) * call.one_more)
        tested = "best student" if has_steps else "base policy"
        policies = {"writing questions": "teacher", "writing answers": "teacher", "testing a policy": tested}
        return ("frozen base", policies.get(call.role, "base policy"))

    def _sample_policy(self, call: Call) -> BoundCall:
        return BoundCall.of(
            sample_policy,
            self.policies.weights(),
            self.policies.frozen_base(),
            self._prompts(call, self._num_prompts(call), is_split=False),
            self._key(),
            0,
            **self._sampling_options(call),
        )

    def _sample_population(self, call: Call) -> BoundCall:
        return BoundCall.of(
            sample_population,
            self._population(call).weights,
            self.policies.frozen_base(),
            self._prompts(call, _num_students(call), self._num_prompts(call)),
            self._key(*(_num_students(call),) * call.role.startswith("students'")),  # others share one key
            0,
            self.policies.weights() if call.one_more else None,
            **self._sampling_options(call),
            population_batch=self.config.sampling.population_batch,
        )

    def _update_policy(self, call: Call) -> BoundCall:
        return BoundCall.of(
            update_policy,
            self.policies.state(self.teacher.optimizer),
            self._batch(self.teacher, call),
            self.policies.frozen_base(),
            0.0,
            **self.teacher.update_options(self.mesh, self.model),
        )

    def _update_population(self, call: Call) -> BoundCall:
        return BoundCall.of(
            update_population,
            self._population(call),
            self._batch(self.student, call, _num_students(call)),
            self.policies.frozen_base(),
            0.0,
            **self.student.update_options(self.mesh, self.model),
            population_batch=self.config.inner.update_batch,
        )

    def _policy_reference_logprobs(self, call: Call) -> BoundCall:
        return BoundCall.of(
            policy_reference_logprobs,
            self._batch(self.teacher, call).rollouts,
            self.policies.weights(),
            self.policies.frozen_base(),
            **self.teacher.reference_options(self.mesh, self.model),
        )

    def _population_reference_logprobs(self, call: Call) -> BoundCall:
        return BoundCall.of(
            population_reference_logprobs,
            self._batch(self.student, call, _num_students(call)).rollouts,
            self.policies.weights(),
            self.policies.frozen_base(),
            **self.student.reference_options(self.mesh, self.model),
        )

    def _init_population(self, call: Call) -> BoundCall:
        return BoundCall.of(
            init_population,
            self.policies.weights(),
            mesh=self.mesh,
            model=self.model,
            optimizer=self.student.optimizer,
            size=call.policies_per_call,
        )

    def _changed_shares(self, call: Call) -> BoundCall:
        weights = self._population(call).weights
        return BoundCall.of(changed_shares, weights, self.policies.weights(), mesh=self.mesh, model=self.model)

    def _take_student(self, call: Call) -> BoundCall:
        return BoundCall.of(take_student, self._population(call).weights, 0, mesh=self.mesh, model=self.model)

    def _mean_pooled(self, call: Call) -> BoundCall:
        weights, frozen_base = self.policies.weights(), self.policies.frozen_base()
        prompts = self._prompts(call, call.prompts_per_call)
        return BoundCall.of(mean_pooled, weights, frozen_base, prompts, mesh=self.mesh, model=self.model)

    def _population(self, call: Call) -> Any:
        return self.policies.population(self.student.optimizer, _num_students(call))

    def _sampling_options(self, call: Call) -> dict[str, Any]:
        settings = dataclasses.replace(
            self.student.sampling,
            max_completion_tokens=call.max_tokens,
            temperature=call.temperature,
            top_p=call.top_p,
        )
        return {
            "mesh": self.mesh,
            "model": self.model,
            "settings": settings,
            "samples_per_prompt": call.samples,
            "max_slots": self.config.sampling.max_slots,
        }

    def _array(self, shape: tuple[int, ...], dtype: Any, is_split: bool = True) -> Any:
        spec = parallel.BY_POPULATION if is_split else parallel.REPLICATED
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self.mesh, spec))

    def _key(self, *lead: int) -> Any:
        dtype = jax.eval_shape(lambda: jax.random.key(0)).dtype
        return self._array(lead, dtype, is_split=bool(lead))

    def _prompts(self, call: Call, *lead: int, is_split: bool = True) -> PromptBatch:
        is_teachers = call.program in _OF_TEACHER or call.role.startswith("writing")
        num_slots = self.teacher_prompt_tokens if is_teachers else self.prompt_tokens
        tokens = self._array((*lead, num_slots), jnp.int32, is_split)
        return PromptBatch(tokens=tokens, lengths=self._array(lead, jnp.int32, is_split))

    def _batch(self, policy: PolicySettings, call: Call, *population: int) -> TrainBatch:
        """What an update takes: a population's rows lie split, one policy's are copied, as `soar/` lays them out."""
        is_split, slots = bool(population), policy.sampling.max_completion_tokens
        lead = (*population, self._num_rows(call))
        rollouts = RolloutBatch(
            prompts=self._prompts(call, *population, call.shared_prompts or call.prompts_per_call, is_split=is_split),
            prompt_of=self._array(lead, jnp.int32, is_split),
            tokens=self._array((*lead, slots), jnp.int32, is_split),
            lengths=self._array(lead, jnp.int32, is_split),
            sampler_logprobs=self._array((*lead, slots), jnp.float32, is_split),
        )
        return TrainBatch(
            rollouts=rollouts,
            advantages=self._array(lead, jnp.float32, is_split),
            reference_logprobs=rollouts.sampler_logprobs if policy.loss.kl_coef > 0 else None,
        )

    def _num_prompts(self, call: Call) -> int:
        """Prompts of each policy in a call: padded to `prompts_per_call`, or for a population evened out."""
        if call.program == "sample_policy":
            return call.prompts_per_call
        return ceil_div(call.prompts, ceil_div(call.prompts, call.prompts_per_call))

    def _num_rows(self, call: Call) -> int:
        """Rows of each policy that an update trains on, or that the reference evaluates."""
        return call.prompts_per_call * call.samples

    def _flops(self, call: Call) -> float:
        """Operations of one call, all devices together; copies count none."""
        if call.program == "mean_pooled":
            return call.prompts_per_call * costs.prefill_flops(self.model, self.prompt_tokens)
        num_policies = _num_students(call) if call.program in _OF_POPULATION else 1
        num_policies += call.one_more * self.mesh.shape[parallel.POPULATION]
        policy = self.teacher if call.program in _OF_TEACHER else self.student
        rows = self._rows(call, policy.sampling.max_completion_tokens)
        if call.is_reference:
            return num_policies * rows.sum(functools.partial(self._reference_flops, rows))
        if call.updates:
            return num_policies * rows.sum(functools.partial(self._training_flops, policy, rows))
        if not call.samples:
            return 0.0
        prefill = costs.prefill_flops(self.model, self.prompt_tokens)
        decode = costs.decode_flops(self.model, self.prompt_tokens, call.max_tokens)
        return num_policies * (self._num_prompts(call) * (prefill + call.samples * decode))

    def _rows(self, call: Call, slots: int) -> TrainedRows:
        """The rows of one policy in an update or a comparison, with completions of `slots` tokens."""
        return TrainedRows(
            num_rows=self._num_rows(call),
            num_prompts=call.shared_prompts or call.prompts_per_call,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=slots,
        )

    def _reference_flops(self, rows: TrainedRows, num_completions: int) -> int:
        """Operations of the reference policy for a prompt with some completions."""
        return costs.reference_flops(self.model, rows.prompt, rows.completion, num_completions=num_completions)

    def _training_flops(self, policy: PolicySettings, rows: TrainedRows, num_completions: int) -> int:
        """Operations of an update for a prompt with some completions."""
        return costs.training_flops(
            self.model,
            rows.prompt,
            completion_tokens=rows.completion,
            remat=policy.loss.remat,
            lora_config=self.policies.lora_config,
            num_completions=num_completions,
        )


def _num_students(call: Call) -> int:
    """Students in one call of a population's program."""
    return call.policies_per_call - call.one_more
