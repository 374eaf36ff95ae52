"""Pretraining from a config to a Hugging Face folder with its validation table."""

from __future__ import annotations

import pathlib
import time
from typing import Any

from soar_jax import parallel
from soar_jax.checkpoints import hugging_face
from soar_jax.checkpoints.tokenizer import Tokenizer, build_word_tokenizer, load_tokenizer
from soar_jax.model import config as model_config
from soar_jax.model import parameters
from soar_jax.model.config import ModelConfig
from soar_jax.pretraining import corpus, training, validation
from soar_jax.problems import arithmetic
from soar_jax.problems.prompts import PromptSettings
from soar_jax.rng import stream_key
from soar_jax.sampling.text import TextSampler
from soar_jax.settings import require
from soar_jax.storage.records import write_json


def phase_from_config(config: Any, name: str) -> training.Phase:
    """The phase `config[name]` as the training code takes it."""
    phase = config[name]

    def dial(section: Any) -> corpus.DialMix:
        return corpus.DialMix(**section.to_dict())

    return training.Phase(
        name=name,
        mix=corpus.Mix(
            textbook=phase.textbook,
            exam_worked=phase.exam_worked,
            exam=phase.exam,
            worked_mirror=config.worked_mirror,
            exam_dial=dial(phase.exam_dial),
            teacher_dial=dial(phase.teacher_dial),
        ),
        num_steps=phase.num_steps,
        documents_per_step=config.documents_per_step,
        peak_learning_rate=phase.peak_learning_rate,
        warmup_steps=phase.warmup_steps,
        decay_fraction=config.decay_fraction,
        worked_prior=phase.worked_prior,
        prior_weight=phase.prior_weight,
        prior_prompts_per_step=config.prior_prompts_per_step,
    )


def _model(config: Any, tokenizer: Tokenizer) -> ModelConfig:
    return ModelConfig(vocab_size=tokenizer.vocab_size, tie_embeddings=True, **config.model.to_dict())


def _check(config: Any, out: pathlib.Path, num_devices: int) -> None:
    require(not out.is_file(), f"--out={out} is a file; name a folder")
    require(not (out / "model.safetensors").exists(), f"--out={out} holds a model; choose another folder")
    for name in config.phases:
        require(name in config, f"phases names {name!r}, and the config has no section of that name")
    parts = num_devices * training.MICRO_BATCHES
    for name in ("documents_per_step", "prior_prompts_per_step"):
        require(
            config[name] > 0 and config[name] % parts == 0,
            f"{name} is {config[name]}; it must be a multiple of {parts} (devices x micro-batches)",
        )
    require(
        validation.MAX_TEACHER_TOKENS + 2 <= config.longest_document_tokens <= config.model.max_position_tokens,
        f"longest_document_tokens is {config.longest_document_tokens}; it must be {validation.MAX_TEACHER_TOKENS + 2} "
        f"to model.max_position_tokens = {config.model.max_position_tokens}",
    )


def pretrain(config: Any, out: pathlib.Path) -> dict[str, Any]:
    """Trains through all phases and writes `out`; the validation table, also in `validation.json`.

    Raises:
      SettingsError: the config's sizes do not fit each other.
    """
    mesh = parallel.make_mesh(-1)
    _check(config, out, mesh.size)
    build_word_tokenizer(arithmetic.vocabulary(), out)
    tokenizer = load_tokenizer(out)
    model = _model(config, tokenizer)
    params = parameters.init_params(model, stream_key(config.seed, "init"))
    started = time.perf_counter()
    for name in config.phases:
        phase = phase_from_config(config, name)

        def report(step: int, metrics: dict[str, float], phase: training.Phase = phase) -> None:
            values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            elapsed = time.perf_counter() - started
            print(f"{phase.name} {step:>5}/{phase.num_steps}  {values}  {elapsed:.0f} s", flush=True)

        params = training.run_phase(
            params,
            phase,
            model=model,
            tokenizer=tokenizer,
            mesh=mesh,
            seed=config.seed,
            longest_document_tokens=config.longest_document_tokens,
            report=report,
        )
    raw = model_config.to_hugging_face(model, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    hugging_face.save_params(out, params, config=model, raw_config=raw)
    prompts = PromptSettings(student=corpus.STUDENT_PROMPT, teacher=corpus.TEACHER_PROMPT, bucket_tokens=(16,))
    sampler = TextSampler(
        mesh=mesh, model=model, tokenizer=tokenizer, prompts=prompts, max_slots=256, population_batch=1
    )
    table = validation.validation_table(sampler, params, config.seed)
    write_json(out / "validation.json", table)
    return table
