"""Compiles the programs of a run side by side in threads, ahead of need, while the first of them run."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import jax

from soar_jax.parallel import processes
from soar_jax.problems.prompts import teacher_prompts
from soar_jax.runs.calls import END, PROMOTION, START, STEP, Sizes, run_calls
from soar_jax.runs.context import RunContext
from soar_jax.runs.memory import AbstractRun
from soar_jax.runs.programs import RunPrograms
from soar_jax.soar.setup import Setup
from soar_jax.types import Problem


@contextlib.contextmanager
def compiling_ahead(context: RunContext) -> Iterator[Callable[[int], None]]:
    """Compiles the programs of a run's start and outer steps in other threads, in the order of their first calls.

    At exit, programs that no thread has begun are cancelled. Prompts of other buckets than the first problems', and
    texts to embed, are left to their calls. So are all programs of several processes, except on TPUs: processes that
    share GPUs tune their kernels together, and must compile in the same order. A finished run compiles nothing.

    Yields:
      A function that starts to compile the programs of the rest of the run, given the number of hard problems.
    """
    setup, workdir = context.setup, context.workdir
    threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="compile")
    is_off = (processes.is_distributed() and jax.default_backend() != "tpu") or (workdir / "summary.json").exists()
    programs = RunPrograms(_abstract_run(setup, context.candidates))

    def start(parts: Sequence[str], hard_share: float) -> None:
        for call in run_calls(setup.config, Sizes(hard_share=hard_share, num_promotions=1, accepted_share=1.0)):
            if not is_off and call.phase.part in parts and call.program != "mean_pooled":
                programs.bind(call).compile_ahead(threads)

    try:
        has_counts = (workdir / "hard_subset.jsonl").exists()
        start((STEP,) if has_counts else (START, STEP), 1.0)
        yield lambda num_hard: start((PROMOTION, END), num_hard / setup.config.hard_subset.num_candidates)
    finally:
        threads.shutdown(cancel_futures=True)


def _abstract_run(setup: Setup, problems: Sequence[Problem]) -> AbstractRun:
    """The shapes of a run as it will make them: with its policies' settings, and the buckets of its first prompts."""
    config, sampler = setup.config, setup.sampler
    run = AbstractRun(config, sampler.model, setup.mesh)
    run.student, run.teacher = setup.student, setup.teacher
    asked = [problem.question for problem in problems[: config.evaluation.problems_per_call]]
    run.prompt_tokens = sampler.encode_questions(asked).tokens.shape[1]
    if config.teacher.turns == 1:  # those of two turns are in the longest bucket
        prompts = teacher_prompts(config.prompts)
        encoded = sampler.encode_prompts(prompts, (config.prompts.teacher_opening,) * len(prompts))
        run.teacher_prompt_tokens = encoded.tokens.shape[1]
    return run
