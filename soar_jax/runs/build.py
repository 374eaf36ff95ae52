"""From a config to everything a run computes with; all checks happen here, before any work."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from soar_jax import settings
from soar_jax.evaluation.evaluator import Evaluator
from soar_jax.evaluation.embedding import Embedder, make_embedder
from soar_jax.grading.extraction import EXTRACTORS
from soar_jax.grading.grader import EQUIVALENCES, Grader
from soar_jax.model import attention, layout, lora
from soar_jax.checkpoints.base_model import LoadedModel, load_model, params_sha256
from soar_jax.model.lora import FrozenBase, LoRASettings
from soar_jax.model.parameters import Params
from soar_jax import parallel
from soar_jax.runs import mesh_fit
from soar_jax.problems.prompts import FORMATS, PromptSettings, teacher_prompts
from soar_jax.rl.advantages import ADVANTAGES
from soar_jax.rl.policy import PolicySettings, policy_settings
from soar_jax.rng import stream_key
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.sampling.text import TextSampler
from soar_jax.soar.promotion import PromotionSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """A run's fixed parts."""

    config: Any  # ml_collections.FrozenConfigDict
    mesh: Mesh
    start: Params  # weights of the base model as a policy, on every device: all policies start from these
    base_sha256: str  # of the base model's parameters
    sampler: TextSampler
    evaluator: Evaluator
    embedder: Embedder
    teacher: PolicySettings
    student: PolicySettings
    promotion: PromotionSettings

    @property
    def population(self) -> int:
        """P = g * r students; student p trains on dataset p // r."""
        return self.config.outer.num_datasets * self.config.outer.students_per_dataset

    @property
    def students_at_once(self) -> int:
        """Students of a wave, which are trained and measured together."""
        return mesh_fit.students_at_once(self.config)

    @property
    def grader(self) -> Grader:
        """How all answers are graded."""
        return self.evaluator.grader

    def evaluation_sampling(self, temperature: float, top_p: float = 1.0) -> SamplingSettings:
        """Student sampling with another temperature."""
        return dataclasses.replace(self.student.sampling, temperature=temperature, top_p=top_p)


def _prompts(section: Any) -> PromptSettings:
    settings.check_choice("prompts.teacher_format", section.teacher_format, FORMATS)
    settings.require(
        "{subject}" not in section.teacher or len(section.subjects) > 0,
        "prompts.teacher holds {subject}, but prompts.subjects is empty",
    )
    return PromptSettings(
        student=section.student,
        teacher=section.teacher,
        bucket_tokens=tuple(section.bucket_tokens),
        chat=section.chat,
        system=section.system,
        subjects=tuple(section.subjects),
        teacher_format=section.teacher_format,
        question_end=section.question_end,
        teacher_opening=section.teacher_opening,
    )


def _grader(section: Any) -> Grader:
    settings.require(len(section.extraction) > 0, "grading.extraction is empty; name at least one extractor")
    for name in section.extraction:
        settings.check_choice("grading.extraction", name, tuple(EXTRACTORS))
    settings.check_choice("grading.equivalence", section.equivalence, EQUIVALENCES)
    settings.require(section.num_workers >= 1, f"grading.num_workers is {section.num_workers}; it must be at least 1")
    settings.require(section.deadline_s > 0, f"grading.deadline_s is {section.deadline_s}; it must be more than 0")
    return Grader(extraction=tuple(section.extraction), equivalence=section.equivalence, num_workers=section.num_workers, deadline_s=section.deadline_s)


def lora_settings(section: Any) -> LoRASettings | None:
    """Adapters by the section `lora`; None where the whole model is trained.

    Raises:
      SettingsError: a value is not usable.
    """
    settings.require(section.rank >= 0, f"lora.rank is {section.rank}; it must be 0 (off) or more")
    for name in section.layers:
        settings.check_choice("lora.layers", name, (*lora.LAYERS, lora.UNEMBEDDING))
    return LoRASettings(rank=section.rank, scale=section.scale, layers=tuple(section.layers)) if section.rank else None


def params_dtype(config: Any) -> str:
    """What a run keeps its base model in.

    What is trained is kept in float32: in bfloat16 an update of 1e-6 would be rounded away.
    """
    return config.model.dtype if config.lora.rank else "float32"


def _start(seed: int, adapting: LoRASettings | None, mesh: Mesh, base: LoadedModel) -> tuple[Params, FrozenBase | None]:
    """The weights that every policy starts from, and what they lie on: nothing, or the base model under adapters."""
    if adapting is None:
        return base.params, None
    adapters = lora.init_adapters(adapting, base.config, stream_key(seed, "lora"))
    frozen = FrozenBase(base.params, parallel.replicate(mesh, jnp.float32(adapting.scale)))
    return layout.shard_params(mesh, base.config, adapters), frozen


def check(config: Any, trains: bool = True) -> Mesh:
    """Checks all of a config that can be checked before a model is loaded, and lays out the mesh.

    Raises:
      SettingsError: what is wrong and what to do.
    """
    settings.check(config)
    settings.check_choice("inner.advantage", config.inner.advantage, tuple(ADVANTAGES))
    for section, read in {"grading": _grader, "prompts": _prompts, "lora": lora_settings}.items():
        read(config[section])  # raises
    mesh = parallel.make_mesh(*(config.mesh[axis] for axis in parallel.AXES))
    attention.check(config.model, mesh)
    if trains:
        mesh_fit.check(mesh, config)
    return mesh


def build(config: Any, base: LoadedModel | None = None, trains: bool = True) -> Setup:
    """Checks a config, lays out the mesh and loads the base model.

    Args:
      base: a model that is loaded already, in the place of the config's.
      trains: whether anything is trained; else students are only asked, and sizes of training need not fit.

    Raises:
      SettingsError: what is wrong and what to do.
    """
    mesh = check(config, trains)
    prompts, adapting = _prompts(config.prompts), lora_settings(config.lora)
    if base is None:
        base = load_model(config.model.source, config.model.dtype, params_dtype=params_dtype(config), mesh=mesh)
    else:
        base = dataclasses.replace(base, params=layout.shard_params(mesh, base.config, base.params))
    base = dataclasses.replace(base, config=attention.choose(config.model, base.config, mesh))
    start, frozen = _start(config.seed, adapting, mesh=mesh, base=base)
    sampler = TextSampler(
        mesh=mesh,
        model=base.config,
        tokenizer=base.tokenizer,
        prompts=prompts,
        max_slots=config.sampling.max_slots,
        population_batch=config.sampling.population_batch,
        frozen=frozen,
        adapting=adapting,
    )
    writers = (config.student, config.teacher) if trains else (config.student,)
    longest = max(prompts.bucket_tokens) + max(writer.max_completion_tokens for writer in writers)
    settings.require(
        longest <= base.config.max_position_tokens,
        f"prompts.bucket_tokens and max_completion_tokens add up to {longest} tokens, but the model was made for "
        f"{base.config.max_position_tokens}",
    )
    if trains:
        asked = teacher_prompts(prompts)
        sampler.encode_prompts(
            asked, (prompts.teacher_opening,) * len(asked)
        )  # refuses what is longer than all buckets
    student = sampler.settings(config.student.max_completion_tokens, config.student.temperature)
    teacher = sampler.settings(config.teacher.max_completion_tokens, config.teacher.temperature)
    rows = config.outer.num_datasets * config.outer.questions_per_dataset
    return Setup(
        config=config,
        mesh=mesh,
        start=start,
        base_sha256=params_sha256(base.params),
        sampler=sampler,
        evaluator=Evaluator(sampler=sampler, grader=_grader(config.grading), prompts_per_call=config.evaluation.problems_per_call),
        embedder=make_embedder(config.analysis.embeddings, sampler, weights=start, rows_per_call=rows),
        teacher=policy_settings("teacher", config.teacher, teacher),
        student=policy_settings("student", config.student, student),
        promotion=PromotionSettings(**config.promotion.to_dict()),
    )
