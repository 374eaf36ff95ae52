"""The compiled programs of a run, without its arrays.

They are the jitted functions that `soar/` calls, with the same static arguments, on shapes with shardings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from soar_jax import parallel
from soar_jax.evaluation.embedding import mean_pooled
from soar_jax.model import attention
from soar_jax.model.config import ModelConfig
from soar_jax.planning.calls import num_teacher_prompts
from soar_jax.planning.plan import adapting
from soar_jax.rl.policy import PolicySettings, policy_settings
from soar_jax.rl.population import init_population, take_student, update_policy, update_population
from soar_jax.runs import mesh_fit
from soar_jax.runs.memory import Policies, bytes_a_device
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.sharded import sample_policy, sample_population
from soar_jax.settings import embeds_questions
from soar_jax.telemetry import costs
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch

_STOP_IDS, _PAD_ID = (0, 1), 0  # which tokens these are changes no shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One program at its largest call."""

    name: str
    lower: Callable[[], jax.stages.Lowered]
    given: tuple[str, ...]  # what of the run's state (`RunShapes.state`) it is given
    has_population: bool  # whether students are alive while it runs
    flops: float  # operations of one call, all devices together


class RunShapes:
    """A config's run on a mesh, as shapes."""

    def __init__(self, config: Any, model: ModelConfig, mesh: Mesh) -> None:
        """Reads what matters off the config.

        Raises:
          SettingsError: the mesh does not divide the run's numbers or the model's, or a setting is wrong.
        """
        mesh_fit.check(mesh, config)
        attention.check(config.model, mesh)
        self.config, self.mesh = config, mesh
        self.model = model = attention.choose(config.model, model, mesh)
        self.adapting = adapting(config.lora, model)
        self.policies = Policies(mesh=mesh, model=model, adapting=self.adapting)
        self.prompt_tokens = max(config.prompts.bucket_tokens)
        self.student, self.teacher = (self._policy(name, config[name]) for name in ("student", "teacher"))
        self.wave = mesh_fit.students_at_once(config)
        # Final students are trained at once, beside all that the outer loop has left.
        self.num_students = max(self.wave, config.final.num_replicas if config.final.students else 0)

    @property
    def _baseline(self) -> str:
        return "baseline student" if self.config.num_outer_steps else "base policy"

    def _policy(self, name: str, section: Any) -> PolicySettings:
        sampling = SamplingSettings(
            max_completion_tokens=section.max_completion_tokens,
            temperature=section.temperature,
            top_p=1.0,
            stop_ids=_STOP_IDS,
            pad_id=_PAD_ID,
        )
        return policy_settings(name, section, sampling)

    def state(self) -> dict[str, int]:
        """Bytes that one device holds of all that lives through an outer step, by name."""
        config, one = self.config, bytes_a_device(self.policies.weights())
        teacher = self.policies.state(self.teacher.optimizer)
        held = {
            "frozen base": bytes_a_device(self.policies.frozen()),
            "base policy": one,
            "teacher": bytes_a_device(teacher.weights),
            "teacher's optimiser": bytes_a_device(teacher.opt_state),
        }
        if config.num_outer_steps:  # else students are the base policy itself
            promotion = config.promotion
            window = promotion.window - 1 if promotion.student == "window_best" else 0
            held |= {"baseline student": one, "best student": one, "promotion window": window * one}
        return {name: size for name, size in held.items() if size}

    def population(self) -> dict[str, int]:
        """Bytes that one device holds while the most students are alive, by name."""
        students = self.policies.population(self.student.optimizer, self.num_students)
        held = {
            "students": bytes_a_device(students.weights),
            "students' optimisers": bytes_a_device(students.opt_state),
        }
        num_students = self.config.outer.num_datasets * self.config.outer.students_per_dataset
        if self.wave < num_students:
            held["best student so far"] = bytes_a_device(self.policies.weights())
        return held

    def cache(self) -> int:
        """Bytes that one device holds of the largest cache: its slots, and the prompts that they are filled from.

        Prompts are counted as they are kept; an int8 cache of theirs is rounded when all layers have been through.
        """
        longest = max(policy.sampling.max_completion_tokens for policy in (self.student, self.teacher))
        slots = 2 * self.prompt_tokens + longest - 1
        rows = self.config.sampling.population_batch * self.config.sampling.max_slots
        return rows * slots * costs.cache_bytes_per_token(self.model) // self.mesh.shape[parallel.TENSOR]

    def programs(self) -> Iterator[Program]:
        """All programs that the config's run calls, each once at its largest call."""
        config, outer = self.config, self.config.outer
        grounded = config.teacher.reward == "grounded" and config.num_outer_steps > 0
        written = outer.num_datasets * outer.questions_per_dataset
        prompts = num_teacher_prompts(config)
        yield self._sampling(
            "writing questions",
            "teacher",
            prompts=prompts,
            samples=-(-written // prompts),
            settings=self.teacher.sampling,
        )
        if embeds_questions(config):
            yield self._embedding(written)
        if grounded or config.final.students:
            yield self._copying()
            per_step = config.inner.questions_per_step
            yield self._answering(
                "students' answers", per_step, samples=config.inner.group_size, settings=self.student.sampling
            )
            yield self._updating_students()
        if grounded:
            greedy = dataclasses.replace(self.student.sampling, temperature=outer.reward_temperature)
            asked = min(outer.num_reward_questions, config.evaluation.problems_per_call)
            yield self._answering("measuring students", asked, samples=outer.reward_samples, settings=greedy)
            yield self._taking()
        if config.num_outer_steps and config.teacher.reward != "grounded":
            samples_each = config.teacher.solver_samples
            yield self._sampling(
                "answering questions",
                "base policy",
                prompts=written,
                samples=samples_each,
                settings=self.student.sampling,
            )
        if config.num_outer_steps and config.teacher.train:
            yield self._updating_teacher(written)
        if "self_play" in config.final.students:
            seeds, votes = config.self_play.questions_per_episode, config.self_play.label_samples
            yield self._answering("students' questions", seeds, samples=1, settings=self.teacher.sampling)
            yield self._answering("students' votes", seeds, samples=votes, settings=self.student.sampling)
        yield from self._examining()

    def _examining(self) -> Iterator[Program]:
        """Tests of policies, and the judge's answers, which ask as many problems at once."""
        config, evaluation = self.config, self.config.evaluation
        per_call, samples = evaluation.problems_per_call, max(evaluation.num_samples, evaluation.validation_samples)
        sampling = self.student.sampling
        testing = dataclasses.replace(sampling, temperature=evaluation.temperature, top_p=evaluation.top_p)
        if config.final.students:
            yield self._answering("testing students", per_call, samples=samples, settings=testing)
        samples = max(samples, config.hard_subset.samples_per_round)  # the search asks one policy too
        tested = "best student" if config.num_outer_steps else "base policy"
        yield self._sampling("testing a policy", tested, prompts=per_call, samples=samples, settings=testing)
        if config.analysis.judge == "self_consistency":
            yield self._sampling(
                "judging questions",
                "base policy",
                prompts=per_call,
                samples=config.analysis.judge_samples,
                settings=sampling,
            )

    def _sampling(self, name: str, policy: str, prompts: int, samples: int, settings: SamplingSettings) -> Program:
        def lower() -> jax.stages.Lowered:
            return sample_policy.lower(
                self.policies.weights(),
                self.policies.frozen(),
                self._prompts(prompts, is_split=False),
                self._key(),
                0,
                mesh=self.mesh,
                model=self.model,
                settings=settings,
                samples_per_prompt=samples,
                max_slots=self.config.sampling.max_slots,
            )

        return Program(
            name=name,
            lower=lower,
            given=("frozen base", policy),
            has_population=False,
            flops=self._sampling_flops(prompts, samples, settings),
        )

    def _embedding(self, rows: int) -> Program:
        def lower() -> jax.stages.Lowered:
            weights, frozen = self.policies.weights(), self.policies.frozen()
            return mean_pooled.lower(weights, frozen, self._prompts(rows), mesh=self.mesh, model=self.model)

        flops = rows * costs.prefill_flops(self.model, self.prompt_tokens)
        return Program(
            name="embedding questions",
            lower=lower,
            given=("frozen base", "base policy"),
            has_population=False,
            flops=flops,
        )

    def _copying(self) -> Program:
        def lower() -> jax.stages.Lowered:
            return init_population.lower(
                self.policies.weights(),
                mesh=self.mesh,
                model=self.model,
                optimizer=self.student.optimizer,
                size=self.num_students,
            )

        return Program(
            name="copying the baseline student", lower=lower, given=(self._baseline,), has_population=False, flops=0.0
        )

    def _answering(self, name: str, prompts: int, samples: int, settings: SamplingSettings) -> Program:
        def lower() -> jax.stages.Lowered:
            return sample_population.lower(
                self._population().weights,
                self.policies.frozen(),
                self._prompts(self.num_students, prompts),
                self._key(self.num_students),
                0,
                mesh=self.mesh,
                model=self.model,
                settings=settings,
                samples_per_prompt=samples,
                max_slots=self.config.sampling.max_slots,
                population_batch=self.config.sampling.population_batch,
            )

        flops = self.num_students * self._sampling_flops(prompts, samples, settings)
        return Program(name=name, lower=lower, given=("frozen base", "students"), has_population=True, flops=flops)

    def _updating_students(self) -> Program:
        inner, student = self.config.inner, self.student
        rows = inner.questions_per_step * inner.group_size

        def lower() -> jax.stages.Lowered:
            return update_population.lower(
                self._population(),
                self._batch(student, self.num_students, rows),
                self.policies.weights() if student.loss.kl_coef > 0 else None,
                self.policies.frozen(),
                **self._update_options(student),
                population_batch=self.config.sampling.population_batch,
            )

        given = ("frozen base", "students", "students' optimisers") + (self._baseline,) * (student.loss.kl_coef > 0)
        return Program(
            name="updating students",
            lower=lower,
            given=given,
            has_population=True,
            flops=self.num_students * self._training_flops(student, rows),
        )

    def _taking(self) -> Program:
        def lower() -> jax.stages.Lowered:
            return take_student.lower(self._population().weights, 0, mesh=self.mesh, model=self.model)

        return Program(name="taking the best student", lower=lower, given=("students",), has_population=True, flops=0.0)

    def _updating_teacher(self, rows: int) -> Program:
        teacher = self.teacher

        def lower() -> jax.stages.Lowered:
            return update_policy.lower(
                self.policies.state(teacher.optimizer),
                self._batch(teacher, rows),
                self.policies.weights() if teacher.loss.kl_coef > 0 else None,
                self.policies.frozen(),
                **self._update_options(teacher),
            )

        given = ("frozen base", "teacher", "teacher's optimiser") + ("base policy",) * (teacher.loss.kl_coef > 0)
        return Program(
            name="updating the teacher",
            lower=lower,
            given=given,
            has_population=False,
            flops=self._training_flops(teacher, rows),
        )

    def _population(self) -> Any:
        return self.policies.population(self.student.optimizer, self.num_students)

    def _update_options(self, policy: PolicySettings) -> dict[str, Any]:
        return {
            "mesh": self.mesh,
            "model": self.model,
            "loss": policy.loss,
            "optimizer": policy.optimizer,
            "rows_per_micro_batch": policy.rows_per_micro_batch,
        }

    def _array(self, shape: tuple[int, ...], dtype: Any, is_split: bool = True) -> jax.ShapeDtypeStruct:
        spec = parallel.BY_POPULATION if is_split else parallel.REPLICATED
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self.mesh, spec))

    def _key(self, *lead: int) -> jax.ShapeDtypeStruct:
        dtype = jax.eval_shape(lambda: jax.random.key(0)).dtype
        return self._array(lead, dtype, is_split=bool(lead))

    def _prompts(self, *lead: int, is_split: bool = True) -> PromptBatch:
        tokens = self._array((*lead, self.prompt_tokens), jnp.int32, is_split)
        return PromptBatch(tokens=tokens, lengths=self._array(lead, jnp.int32, is_split))

    def _batch(self, policy: PolicySettings, *lead: int) -> TrainBatch:
        """Rollouts and advantages: a population's lie split, one policy's are copied, as `soar/` lays them out."""
        is_split, slots = len(lead) > 1, policy.sampling.max_completion_tokens
        rollouts = RolloutBatch(
            prompts=self._prompts(*lead, is_split=is_split),
            tokens=self._array((*lead, slots), jnp.int32, is_split),
            lengths=self._array(lead, jnp.int32, is_split),
            sampler_logprobs=self._array((*lead, slots), jnp.float32, is_split),
        )
        return TrainBatch(rollouts=rollouts, advantages=self._array(lead, jnp.float32, is_split))

    def _sampling_flops(self, prompts: int, samples: int, settings: SamplingSettings) -> float:
        prefill = costs.prefill_flops(self.model, self.prompt_tokens)
        decode = costs.decode_flops(self.model, self.prompt_tokens, settings.max_completion_tokens)
        return prompts * (prefill + samples * decode)

    def _training_flops(self, policy: PolicySettings, rows: int) -> float:
        is_rematerialised = policy.loss.remat != "none"
        slots = policy.sampling.max_completion_tokens
        row = costs.training_flops(
            self.model,
            self.prompt_tokens,
            completion_tokens=slots,
            rematerialised=is_rematerialised,
            adapting=self.adapting,
        )
        if policy.loss.kl_coef > 0:
            row += costs.reference_flops(self.model, self.prompt_tokens, slots)
        return rows * row


def held_by_a_device(config: Any, model: ModelConfig, mesh: Mesh) -> dict[str, int]:
    """Bytes that each device holds during a run, by kind: parameters, optimiser, cache, population.

    Raises:
      SettingsError: the mesh does not divide the run's numbers or the model's.
    """
    shapes = RunShapes(config, model, mesh)
    state = shapes.state()
    optimizer = state.pop("teacher's optimiser")
    return {
        "parameters": sum(state.values()),
        "optimiser": optimizer,
        "cache": shapes.cache(),
        "population": sum(shapes.population().values()),
    }


def held_text(config: Any, model: ModelConfig, mesh: Mesh) -> str:
    """The mesh and what each of its devices holds, in two lines.

    Raises:
      SettingsError: as `held_by_a_device`.
    """
    held = held_by_a_device(config, model, mesh)
    sizes = "  ".join(f"{name} {size / 2**30:.3g}" for name, size in held.items())
    axes = " x ".join(f"{name} {size}" for name, size in mesh.shape.items())
    return f"mesh: {axes}\neach device holds, in GiB: {sizes}  in all {sum(held.values()) / 2**30:.3g}"
