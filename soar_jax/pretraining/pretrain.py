"""Pretrains the embedded model: from a config to a Hugging Face folder and its validation table."""

from __future__ import annotations

import pathlib
import time
from typing import Any

from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.checkpoints import config_json, hugging_face
from soar_jax.checkpoints.tokenizer import Tokenizer, build_word_tokenizer, load_tokenizer
from soar_jax.config.sections import PromptsSection
from soar_jax.errors import require
from soar_jax.model import parameters
from soar_jax.model.config import ModelConfig
from soar_jax.pretraining import corpus, training, validation
from soar_jax.pretraining.config import PretrainConfig
from soar_jax.problems import arithmetic
from soar_jax.rng import stream_key
from soar_jax.sampling.text import TextSampler
from soar_jax.storage.records import write_json
from soar_jax.telemetry.meter import WorkMeter


def make_phase(config: PretrainConfig, name: str) -> training.PretrainingPhase:
    """Makes a phase of the config."""
    phase = config.phase(name)
    assert phase is not None
    return training.PretrainingPhase(
        name=name,
        mix=corpus.Mix(
            textbook=phase.textbook,
            exam_worked=phase.exam_worked,
            exam=phase.exam,
            worked_mirror=config.worked_mirror,
            exam_dial=corpus.DialMix(**phase.exam_dial.to_dict()),
            teacher_dial=corpus.DialMix(**phase.teacher_dial.to_dict()),
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


def _check(config: PretrainConfig, out: pathlib.Path, num_devices: int) -> None:
    require(not out.is_file(), f"--out={out} is a file; name a folder")
    require(not (out / "model.safetensors").exists(), f"--out={out} holds a model; choose another folder")
    for name in config.phases:
        require(config.phase(name) is not None, f"phases names {name!r}, and the config has no section of that name")
    parts = num_devices * training.MICRO_BATCHES
    sizes = {
        "documents_per_step": config.documents_per_step,
        "prior_prompts_per_step": config.prior_prompts_per_step,
    }
    for name, value in sizes.items():
        require(
            value > 0 and value % parts == 0,
            f"{name} is {value}; it must be a multiple of {parts} (devices x micro-batches)",
        )
    require(
        validation.MAX_TEACHER_TOKENS + 2 <= config.longest_document_tokens <= config.model.max_position_tokens,
        f"longest_document_tokens is {config.longest_document_tokens}; it must be {validation.MAX_TEACHER_TOKENS + 2} "
        f"to model.max_position_tokens = {config.model.max_position_tokens}",
    )


def pretrain(config: PretrainConfig, out: pathlib.Path) -> dict[str, Any]:
    """Trains through all phases and writes `out`; the validation table, also in `validation.json`.

    Raises:
      SettingsError: the config's sizes do not fit each other.
    """
    mesh = parallel.make_mesh(-1)
    _check(config, out, mesh.size)
    build_word_tokenizer(arithmetic.vocabulary(), out)
    tokenizer = load_tokenizer(out)
    model = ModelConfig(vocab_size=tokenizer.vocab_size, tie_embeddings=True, **config.model.to_dict())
    params = parameters.init_params(model, stream_key(config.seed, "init"))
    started = time.perf_counter()
    for name in config.phases:
        phase = make_phase(config, name)

        def report(step: int, metrics: dict[str, float], phase: training.PretrainingPhase = phase) -> None:
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
    raw = config_json.to_hugging_face(model, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    hugging_face.save_params(out, params, config=model, raw_config=raw)
    table = validation.validation_table(_sampler(mesh, model, tokenizer), params, config.seed)
    write_json(out / "validation.json", table)
    return table


def _sampler(mesh: Mesh, model: ModelConfig, tokenizer: Tokenizer) -> TextSampler:
    prompts = PromptsSection(
        student=corpus.STUDENT_PROMPT,
        teacher=corpus.TEACHER_PROMPT,
        chat=False,
        subjects=(),
        teacher_format="separator",
        teacher_opening="",
        bucket_tokens=(16,),
    )
    return TextSampler(
        mesh=mesh,
        model=model,
        tokenizer=tokenizer,
        prompts=prompts,
        max_slots=256,
        population_batch=1,
        meter=WorkMeter(model),
    )
