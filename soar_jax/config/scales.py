"""Scales: which model, which problems, and the sizes that fit them. `method.py:SCALE[:BENCHMARK]` picks one.

The defaults of `sections.py` are the paper's protocol. A scale is the list of its departures from them, each with its
reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import ml_collections

from soar_jax.config import prompt_texts
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import require


def scale_config(scale: str) -> ml_collections.ConfigDict:
    """All keys that every method has, set for a scale; an empty name is "nano".

    Args:
      scale: "SCALE", or "SCALE:BENCHMARK" for a language model on another benchmark than its own.

    Raises:
      SettingsError: there is no such scale or benchmark.
    """
    scale = scale or "nano"
    name, _, benchmark = scale.partition(":")
    require(name in SCALES, f"unknown scale {name!r}; choose one of {', '.join(SCALES)}")
    require(
        not benchmark or (name != "nano" and benchmark in BENCHMARKS),
        f"unknown benchmark {benchmark!r} of scale {name!r}; a language model has {', '.join(BENCHMARKS)}",
    )
    config = ml_collections.ConfigDict(RunConfig().to_dict())
    SCALES[name](config)
    if benchmark:
        BENCHMARKS[benchmark](config)
    config.scale = scale
    return config


def scale_names() -> tuple[str, ...]:
    """All scales."""
    return tuple(SCALES)


def nano(c: ml_collections.ConfigDict) -> None:
    """The embedded model in the arithmetic world: runs anywhere in minutes, no download.

    Values were measured for this model (docs/nano_world.md).
    """
    c.num_outer_steps = 40  # at most: the search ends by outer.stop_at_validation
    c.model.update(source="embedded:nano", dtype="float32")
    # Operations of the candidates. Their seed is not the run's, so that all seeds choose from the same problems.
    c.problems.update(source="arithmetic", path="", topic="dial", levels=(6, 6, 7, 7, 7, 8, 8, 8, 8, 8), seed=3)
    c.transfer.update(source="arithmetic", path="", topic="mirror", levels=(6, 7, 8), seed=3, num_problems=96)
    # A model of 34 words, which knows no instructions.
    c.prompts.update(student="exam {question} ?", teacher="teacher", teacher_opening="", from_seed="teacher {opening}")
    c.prompts.update(opening_words=4, chat=False, subjects=(), teacher_format="separator", bucket_tokens=(4, 15))
    c.grading.update(extraction=("after_equals",), equivalence="text", num_workers=2)  # answers are digits
    # Problems are free here, so that a validation set of its own chooses the promoted student.
    c.hard_subset.update(num_candidates=384, samples_per_round=128, validation_share=1 / 3)  # one compiled shape
    # Many small datasets: few questions share a reward, so that it says more about each of them.
    c.outer.update(num_datasets=16, questions_per_dataset=8, students_per_dataset=1)
    # Greedy accuracy of this model jumps from 0 to 1 and gives no early signal: accuracy is that of 16 samples.
    c.outer.update(reward_temperature=1.0, reward_samples=16, stop_at_validation=0.85)
    c.promotion.student = "window_best"  # with one student a dataset, a step's best is often luck
    # All students fit into memory. Ten steps of this size are enough after a promotion too.
    c.inner.update(questions_per_step=4, group_size=16, students_at_once=0, steps_per_promotion=0)
    # A small model takes larger steps. Epsilon is large against the gradients' size: one lucky hit must not become a
    # full step. Completions are as long as the longest worked answer, and the longest question with its answer.
    c.student.update(learning_rate=3e-4, adam_eps=1e-3, max_completion_tokens=27)
    c.teacher.update(learning_rate=8e-4, adam_eps=1e-5, max_completion_tokens=40)
    for policy in (c.student, c.teacher):
        # Runs are short, and one that reaches its goal ends: nothing is to decay towards an end that never comes.
        policy.update(schedule="constant", warmup_steps=0, weight_decay=0.0, adam_b2=0.99, kl_coef=0.0)
        policy.update(rows_per_micro_batch=16, logprob_chunk_tokens=4096, remat="none", completion_buckets=1)
        policy.importance_cap = 0.0  # in float32 the sampler computes as the trainer does
    c.student.reward = "right"  # its answers are not boxed
    c.teacher.malformed = "penalise"  # all of its figures were measured with the penalty
    c.teacher.update(reward_unit="question", solver_samples=16)  # the paper's are those of `intrinsic_teacher`
    # Eight datasets of the teacher's questions. A warm start of 30 of the 50 steps sees each of SOAR's 16 to 24
    # questions five to eight times.
    c.curriculum.update(num_questions=64, warm_start_steps=30)
    # Curated problems are the world's own. Those below level 3 are answered without work.
    c.curriculum.update(curated_source="", curated_path="", levels=(3, 4, 5, 6))
    # Enough for all methods to level off; tested at the end.
    c.final.update(num_steps=50, warmup_steps=0, report_at="end", test_every=0)
    c.analysis.vendi_size = 16  # questions of two promotions
    c.analysis.judge = "world"  # the world knows every answer
    c.evaluation.problems_per_call = 32  # divides nearly all sets of problems here, so that they share programs
    c.mesh.update(population=-1, fsdp=1, tensor=1)  # the two halves of a CPU
    c.sampling.max_slots = 64


def language_model(c: ml_collections.ConfigDict, source: str) -> None:
    """An instruction model on MATH, by the paper's settings."""
    c.model.source = source


def chat_prompts(c: ml_collections.ConfigDict) -> None:
    """Prompts in the model's chat template, with an example and a subject in turn, read leniently.

    The paper's prompts of plain text, without examples, are for Llama models. Other instruction models are asked in the
    form that they were tuned on.
    """
    c.prompts.update(student="step_by_step", teacher="one_example", chat=True)
    # Small models write a question with its tags far more often where the first tag is there already.
    c.prompts.update(teacher_opening="<question>\n", teacher_format="tags")
    c.prompts.subjects = prompt_texts.SUBJECTS  # in turn; the paper's prompt has them in one line


def qwen2_5_1_5b(c: ml_collections.ConfigDict) -> None:
    """Qwen2.5-1.5B-Instruct on MATH."""
    language_model(c, "Qwen/Qwen2.5-1.5B-Instruct")
    chat_prompts(c)


def qwen3_1_7b(c: ml_collections.ConfigDict) -> None:
    """Qwen3-1.7B on MATH, told not to think first: thoughts would fill the whole completion."""
    language_model(c, "Qwen/Qwen3-1.7B")
    chat_prompts(c)
    c.prompts.system = "/no_think"


def smollm2_135m(c: ml_collections.ConfigDict) -> None:
    """SmolLM2-135M-Instruct on GSM8K: small enough for a CPU, too weak to learn much; it proves the machinery."""
    language_model(c, "HuggingFaceTB/SmolLM2-135M-Instruct")
    c.mesh.update(population=-1, fsdp=1, tensor=1)  # the parts of a CPU
    c.inner.students_at_once = 0
    c.sampling.max_slots = 32
    # The easiest of the benchmarks. Its other split is the transfer, as much as a CPU can test.
    c.problems.update(source="gsm8k", path="hf:openai/gsm8k:main:train")
    c.transfer.update(source="gsm8k", path="hf:openai/gsm8k:main:test", num_problems=256)
    c.grading.extraction = ("boxed", "last_number")  # answers are numbers: without a box the last one counts
    # One example and temperature 1 give 1 parsable question in 8; three and 0.7 give 9 in 16.
    chat_prompts(c)
    c.prompts.update(teacher="three_examples", subjects=("everyday arithmetic",))
    c.teacher.update(temperature=0.7, malformed="penalise")
    c.student.max_completion_tokens = c.teacher.max_completion_tokens = 256  # short, for a CPU
    c.curriculum.update(curated_source="", curated_path="", levels=(1,))  # all that the benchmark has
    c.student.completion_buckets = 2
    c.final.update(num_steps=100, report_at="end", test_every=0)  # few, for a CPU; tested at the end


def math(c: ml_collections.ConfigDict) -> None:
    """MATH (paper, B.5): what `sections.py` has."""


def harp(c: ml_collections.ConfigDict) -> None:
    """HARP (paper, B.5 and B.6): a file of its authors' repository, HARP.jsonl.zip."""
    c.problems.update(source="harp", path="HARP.jsonl.zip")
    c.curriculum.schedule = "mixed"
    c.checkpoints.keep_every = 170  # the teacher of this step writes the questions of Grounded-T (paper, B.7)


def olympiadbench(c: ml_collections.ConfigDict) -> None:
    """OlympiadBench (paper, B.5 and B.6): transfer, whose questions come from a run on another benchmark."""
    c.problems.update(source="olympiadbench", path="hf:Hothan/OlympiadBench:OE_TO_maths_en_COMP")
    c.hard_subset.num_candidates = 674
    c.curriculum.schedule = "mixed"
    c.final.report_at = "step"


BENCHMARKS: dict[str, Callable[[ml_collections.ConfigDict], None]] = {
    "math": math,
    "harp": harp,
    "olympiadbench": olympiadbench,
}

SCALES: dict[str, Callable[[ml_collections.ConfigDict], None]] = {
    "nano": nano,
    "smollm2-135m": smollm2_135m,
    "llama3.2-1b": functools.partial(language_model, source="meta-llama/Llama-3.2-1B-Instruct"),
    "llama3.2-3b": functools.partial(language_model, source="meta-llama/Llama-3.2-3B-Instruct"),
    "llama3.1-8b": functools.partial(language_model, source="meta-llama/Llama-3.1-8B-Instruct"),
    "qwen2.5-1.5b": qwen2_5_1_5b,
    "qwen3-1.7b": qwen3_1_7b,
}
