"""Measures 16 students x 10 inner steps of the shipped config in one program and one by one, and a student's memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import interleave, workloads
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax.config import method_config, read_config
from soar_jax.problems import arithmetic
from soar_jax.rl.population import init_population, update_population
from soar_jax.rl.schedules import learning_rates
from soar_jax.runs.build import build
from soar_jax.soar.inner_loop import EpisodePlan, QuestionSets, train_population
from soar_jax.soar.setup import Setup
from soar_jax.types import QuestionAnswer

READS = ("cores",)
NUM_STUDENTS = 16
QUESTIONS_EACH = 16
LEVELS = (2, 3, 4, 5)
LORA_RANK = 8
# A single student can use both cores in two ways; the faster one counts.
ALONE = {"one after another, one device": {"data": 1}, "one after another, rows sharded": {"data": -1}}


def make_setup(rank: int, **mesh: int) -> Setup:
    """Builds the shipped nano run with NUM_STUDENTS students on a mesh."""
    config = method_config("soar_math", "nano")
    config.outer.update(num_datasets=NUM_STUDENTS, students_per_dataset=1)
    config.lora.rank = rank
    config.mesh.update(mesh)
    return build(read_config(config))


def question_sets() -> QuestionSets:
    """Generates questions with true answers, which the model sometimes gets right."""
    problems = arithmetic.generate_problems(np.random.default_rng(0), LEVELS, NUM_STUDENTS * QUESTIONS_EACH)
    pairs = [QuestionAnswer(question=problem.question, answer=problem.answer) for problem in problems]
    return [tuple(pairs[student::NUM_STUDENTS]) for student in range(NUM_STUDENTS)]


def measure(options: Options) -> Iterator[Section]:
    """Yields a table of times and a table of memory."""
    rows = [_time(options.rounds, kind, rank) for kind, rank in (("full", 0), (f"LoRA, rank {LORA_RANK}", LORA_RANK))]
    yield Section(
        title=f"nano: {NUM_STUDENTS} students x 10 inner steps",
        rows=rows,
        note="Median seconds of sampling, grading and updating; x is the faster way of one after another against one "
        "program.",
    )
    yield Section(
        title="nano: memory of a student in training",
        rows=[_memory(kind, rank) for kind, rank in (("full", 0), (f"LoRA, rank {LORA_RANK}", LORA_RANK))],
        note="State: weights and optimizer state. Update program: temporary memory as compiled, on all devices.",
    )


def _time(rounds: int, kind: str, rank: int) -> dict[str, Any]:
    population = make_setup(rank, population=-1)
    sets = question_sets()

    def train(setup: Setup, sets: QuestionSets, number: int, first_student: int = 0) -> None:
        rates = learning_rates(setup.config.student, setup.config.inner.num_steps, warmup_steps=0)
        plan = EpisodePlan(stream="benchmark", indices=(number,), learning_rates=rates, first_student=first_student)
        states, _ = train_population(setup, setup.base_weights, question_sets=sets, plan=plan)
        jax.block_until_ready(states)

    def one_program(number: int) -> float:
        started = time.perf_counter()
        train(population, sets, number)
        return time.perf_counter() - started

    def one_after_another(single: Setup) -> Any:
        def work(number: int) -> float:
            started = time.perf_counter()
            for student, questions in enumerate(sets):
                train(single, [questions], number, first_student=student)
            return time.perf_counter() - started

        return work

    sides = {"one program": one_program}
    sides |= {name: one_after_another(make_setup(rank, population=1, **mesh)) for name, mesh in ALONE.items()}
    found = interleave.interleave(sides, rounds)
    faster = min(ALONE, key=lambda name: interleave.median(found[name]))
    medians = {name: interleave.median(seconds) for name, seconds in found.items()}
    return {"students": kind, **medians, "x": interleave.ratio(found[faster], found["one program"])}


def _memory(kind: str, rank: int) -> dict[str, Any]:
    setup = make_setup(rank, population=-1)
    student, model, frozen_base = setup.student, setup.sampler.model, setup.sampler.frozen_base
    states = init_population(
        setup.base_weights, mesh=setup.mesh, model=model, optimizer=student.optimizer, size=NUM_STUDENTS
    )
    inner = setup.config.inner
    rows = inner.questions_per_step * inner.group_size
    prompt_tokens = max(setup.sampler.prompts.bucket_tokens)
    new_tokens = student.sampling.max_completion_tokens
    batch = workloads.random_rollouts(
        model,
        rows,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        leading=(NUM_STUDENTS,),
        samples_per_prompt=inner.group_size,
    )
    compiled = update_population.lower(
        states,
        batch,
        frozen_base=frozen_base,
        learning_rate=workloads.LEARNING_RATE,
        mesh=setup.mesh,
        model=model,
        loss=student.loss,
        optimizer=student.optimizer,
        rows_per_micro_batch=student.rows_per_micro_batch,
        population_batch=setup.config.inner.update_batch,
    ).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    temporary = analysis.temp_size_in_bytes * setup.mesh.size
    return {
        "students": kind,
        "state, MiB a student": _mib(states) / NUM_STUDENTS,
        "shared frozen base, MiB": _mib(frozen_base),
        "update program, MiB a student": temporary / NUM_STUDENTS / 2**20,
    }


def _mib(tree: Any) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 2**20
