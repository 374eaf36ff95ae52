"""16 students x 10 inner steps of the shipped config: as one program, and one after another; memory of a student."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks import interleave, workloads
from benchmarks.options import Options
from benchmarks.report import Section
from configs import soar_math
from soar_jax.problems import arithmetic
from soar_jax.rl.population import init_population, update_population
from soar_jax.runs import build as setups
from soar_jax.runs.build import Setup
from soar_jax.soar.inner_loop import Curriculum, train_population
from soar_jax.types import QuestionAnswer

READS = ("cores",)
NUM_STUDENTS = 16
QUESTIONS_EACH = 16
LEVELS = (2, 3, 4, 5)
LORA_RANK = 8
# A single student may use both cores in two ways; it gets the quicker one.
ALONE = {"one after another, one device": {"data": 1}, "one after another, rows shared out": {"data": -1}}


def build(rank: int, **mesh: int) -> Setup:
    """The shipped nano run with so many students, on a mesh."""
    config = soar_math.get_config("nano")
    config.outer.update(num_datasets=NUM_STUDENTS, students_per_dataset=1)
    config.lora.rank = rank
    config.mesh.update(mesh)
    return setups.build(config)


def curriculum() -> Curriculum:
    """Questions of the world with their true answers, which the model gets right now and then."""
    problems = arithmetic.generate_problems(np.random.default_rng(0), LEVELS, NUM_STUDENTS * QUESTIONS_EACH)
    pairs = [QuestionAnswer(question=problem.question, answer=problem.answer) for problem in problems]
    return Curriculum(questions=tuple(tuple(pairs[student::NUM_STUDENTS]) for student in range(NUM_STUDENTS)))


def measure(options: Options) -> Iterator[Section]:
    """Time, then memory."""
    rows = [_time(options.rounds, kind, rank) for kind, rank in (("full", 0), (f"LoRA, rank {LORA_RANK}", LORA_RANK))]
    yield Section(
        title=f"nano: {NUM_STUDENTS} students x 10 inner steps",
        rows=rows,
        note="Median seconds of sampling, grading and updating; x is one after another, in its quicker way, against one "
        "program.",
    )
    yield Section(
        title="nano: memory of a student in training",
        rows=[_memory(kind, rank) for kind, rank in (("full", 0), (f"LoRA, rank {LORA_RANK}", LORA_RANK))],
        note="Weights and optimiser state, and what the update program takes besides on both devices together, as compiled.",
    )


def _time(rounds: int, kind: str, rank: int) -> dict[str, Any]:
    together = build(rank, population=-1)
    lists = curriculum()

    def one_program(number: int) -> float:
        started = time.perf_counter()
        jax.block_until_ready(
            train_population(together, together.start, curriculum=lists, stream="benchmark", indices=(number,)).states
        )
        return time.perf_counter() - started

    def one_after_another(alone: Setup) -> Any:
        def work(number: int) -> float:
            started = time.perf_counter()
            for student, questions in enumerate(lists.questions):
                single = Curriculum(questions=(questions,))
                episode = train_population(
                    alone, alone.start, curriculum=single, stream="benchmark", indices=(number,), first_student=student
                )
                jax.block_until_ready(episode.states)
            return time.perf_counter() - started

        return work

    sides = {"one program": one_program}
    sides |= {name: one_after_another(build(rank, population=1, **mesh)) for name, mesh in ALONE.items()}
    found = interleave.interleave(sides, rounds)
    quicker = min(ALONE, key=lambda name: interleave.median(found[name]))
    medians = {name: interleave.median(seconds) for name, seconds in found.items()}
    return {"students": kind, **medians, "x": interleave.ratio(found[quicker], found["one program"])}


def _memory(kind: str, rank: int) -> dict[str, Any]:
    setup = build(rank, population=-1)
    student, model, frozen = setup.student, setup.sampler.model, setup.sampler.frozen
    states = init_population(setup.start, mesh=setup.mesh, model=model, optimizer=student.optimizer, size=NUM_STUDENTS)
    inner = setup.config.inner
    rows = inner.questions_per_step * inner.group_size
    prompt_tokens = max(setup.sampler.prompts.bucket_tokens)
    batch = workloads.random_rollouts(model, rows, prompt_tokens, student.sampling.max_completion_tokens, NUM_STUDENTS)
    compiled = update_population.lower(
        states,
        batch,
        None,
        frozen,
        mesh=setup.mesh,
        model=model,
        loss=student.loss,
        optimizer=student.optimizer,
        rows_per_micro_batch=student.rows_per_micro_batch,
        population_batch=setup.config.sampling.population_batch,
    ).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    temporary = analysis.temp_size_in_bytes * setup.mesh.size
    return {
        "students": kind,
        "state, MiB a student": _mib(states) / NUM_STUDENTS,
        "shared frozen base, MiB": _mib(frozen),
        "update program, MiB a student": temporary / NUM_STUDENTS / 2**20,
    }


def _mib(tree: Any) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 2**20
