"""A run from start to end: hard subset, outer loop, final students, tests, and their files. Start reading here."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from etils import epath

from soar_jax.config import cross_rules
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import require
from soar_jax.evaluation import hard_subset
from soar_jax.evaluation.hard_search import count_correct
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.parallel import processes
from soar_jax.problems import paper_pools
from soar_jax.problems.answer_forms import describe_impossible_answers
from soar_jax.problems.sources import NO_SOURCE, all_problems, left_out, load_problems
from soar_jax.runs import judging, source_run, tasks, tracking
from soar_jax.runs.build import build
from soar_jax.runs.compile_ahead import compiling_ahead
from soar_jax.runs.context import RunClock, RunContext
from soar_jax.runs.display import Display
from soar_jax.runs.final_evaluation import evaluate_run, remove_results
from soar_jax.runs.interrupts import Interrupts
from soar_jax.runs.memory import memory_summary
from soar_jax.runs.run_files import RunFiles
from soar_jax.runs.search import search
from soar_jax.runs.source_run import SourceRun
from soar_jax.runs.summary import show_summary
from soar_jax.runs.tracking import Tracking
from soar_jax.runs.workdir import check_workdir, claim_workdir, has_begun
from soar_jax.soar import curricula
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import Progress, RunArrays, initial_arrays, initial_progress
from soar_jax.soar.teacher import centre_embeddings
from soar_jax.storage.run_checkpoints import Checkpoints
from soar_jax.telemetry.compilations import CompilationCounter
from soar_jax.telemetry.devices import peaks
from soar_jax.telemetry.environment import environment
from soar_jax.types import Problem, normalize_question


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """The checked inputs of a run."""

    config: RunConfig
    changed_keys: list[str]  # execution-only keys whose values differ from the run that is resumed
    problems: list[Problem]
    transfer: list[Problem]  # empty: none
    source: SourceRun | None  # the finished run that this one starts from


def run(config: RunConfig, workdir: epath.Path, profiled: bool = False) -> dict[str, Any]:
    """Runs a config in a workdir, resuming from what an earlier start has saved.

    Args:
      profiled: whether to write a trace of one outer step to `profile/` in the workdir.

    Returns:
      The contents of `summary.json`.

    Raises:
      SettingsError: the config, the model or the workdir cannot be used.
      NotFiniteError: a loss or gradient is not finite.
      InterruptedRunError: a stop signal has come; the same call resumes.
    """
    clock, compilations, interrupts = RunClock(), CompilationCounter(), Interrupts()
    inputs = check(config, workdir, profiled)
    context = load(inputs, workdir, clock=clock, compilations=compilations, interrupts=interrupts)
    with contextlib.closing(context), compiling_ahead(context) as compile_rest:
        split = find_hard_problems(context, compile_rest)
        context = dataclasses.replace(context, setup=centre_embeddings(context.setup))  # for the question ledger
        arrays, progress = restore(context, split)
        result = search(context, arrays, progress, split=split, profiled=profiled)
        summary = evaluate_run(context, result)
        show_summary(context, summary)
    return summary


def check(config: RunConfig, workdir: epath.Path, profiled: bool) -> Inputs:
    """Checks everything that needs no model, and loads the problems."""
    require(not profiled or config.num_outer_steps > 0, "--profile traces an outer step, and num_outer_steps is 0")
    config = config.for_platform(jax.devices()[0].platform)
    changed = check_workdir(workdir, config)
    tracking.check(config.tracking, workdir)
    processes.assert_equal("the config", config.to_dict())  # with execution-only keys, since they change programs
    cross_rules.check_whole_run(config)
    source = source_run.find(config)
    if source is not None:
        source.check_begun(workdir)
    curricula.check_curated(config)
    problems = load_problems(config.problems, "problems", config.hard_subset.num_candidates)
    transfer = []
    if config.transfer.source != NO_SOURCE:
        transfer = load_problems(config.transfer, "transfer", config.transfer.num_problems)
    return Inputs(config=config, changed_keys=changed, problems=problems, transfer=transfer, source=source)


def load(
    inputs: Inputs, workdir: epath.Path, *, clock: RunClock, compilations: CompilationCounter, interrupts: Interrupts
) -> RunContext:
    """Loads the model, and locks the workdir."""
    setup, source = build(inputs.config), inputs.source
    config = setup.config  # with what depends on the devices settled
    if source is not None:
        source.check_base(setup)
    judging.make_judge(setup, workdir)  # raises now, not at the end of the run, if a library or key is missing
    fitting = tasks.fitting_problems(setup, inputs.problems)
    candidates = fitting if source is None else source.unseen(fitting)
    transfer, num_shared = transfer_problems(setup, inputs.transfer, candidates)
    ids = [[problem.id for problem in part] for part in (candidates, transfer)]
    fitted = dataclasses.asdict(config.sampling) | {"remat": [config.student.remat, config.teacher.remat]}
    processes.assert_equal("model, problems and what fits into memory", [setup.base_sha256, ids, fitted])
    lock = claim_workdir(workdir, inputs.config)
    if source is not None:
        source.write_record(workdir)
    selection = "validation" if config.hard_subset.validation_share else "hard train"
    display = Display(config.num_outer_steps, interrupts, selection)
    display.say(memory_summary(config, setup.sampler.model, setup.mesh))
    evaluator = dataclasses.replace(setup.evaluator, show_progress=display.progress)
    setup = dataclasses.replace(setup, evaluator=evaluator, show_progress=display.progress)
    context = RunContext(
        setup=setup,
        workdir=workdir,
        candidates=candidates,
        transfer=transfer,
        source=source,
        files=RunFiles(workdir),
        tracking=Tracking(workdir, config, environment(setup.mesh), say=display.say),
        checkpoints=Checkpoints(workdir / "checkpoints", config.checkpoints.keep, config.checkpoints.keep_every),
        display=display,
        peaks=peaks(setup.mesh, setup.sampler.model.dtype),
        compilations=compilations,
        clock=clock,
        lock=lock,
    )
    _say_inputs(context, inputs, num_unfit=len(inputs.problems) - len(fitting), num_shared=num_shared)
    return context


def _say_inputs(context: RunContext, inputs: Inputs, num_unfit: int, num_shared: int) -> None:
    """Shows the config keys that a resume has changed, and which problems are left out."""
    display, config = context.display, inputs.config
    if inputs.changed_keys:
        display.say(f"going on with another {', '.join(inputs.changed_keys)}")
    sections = {"problems": config.problems} | ({"transfer": config.transfer} if context.transfer else {})
    for name, section in sections.items():
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out(section).items())
        if reasons:
            display.say(f"{name}: rows left out of {section.path}: {reasons}")
    for name, problems in {"problems": context.candidates, "transfer": context.transfer}.items():
        if warning := describe_impossible_answers(problems, context.setup.grader):
            display.say(f"warning: {name}: {warning}")
    if num_unfit:
        display.say(f"problems: {num_unfit} left out, {tasks.why_unfit(context.setup)}")
    if inputs.source is not None and inputs.source.num_unjudged:
        display.say(
            f"curriculum.keep: {inputs.source.num_unjudged} promotion questions of {inputs.source.workdir} left out, "
            "since they were not judged"
        )
    num_seen = len(inputs.problems) - num_unfit - len(context.candidates)
    if num_seen:
        display.say(f"problems: {num_seen} left out, since the teacher of source_run was rewarded on them")
    if num_shared:
        display.say(f"transfer: {num_shared} left out, since they are among the problems that are trained on")


def transfer_problems(
    setup: Setup, others: list[Problem], candidates: Sequence[Problem]
) -> tuple[tuple[Problem, ...], int]:
    """Returns the transfer problems that are not training problems, and how many were dropped.

    Args:
      others: the transfer problems; empty: none.

    Raises:
      SettingsError: no problem is left.
    """
    if not others:
        return (), 0
    found = tasks.fitting_problems(setup, others)
    trained = [*candidates, *all_problems(setup.config.problems)]
    if setup.config.registered_curriculum.is_curated:
        trained += all_problems(curricula.curated_section(setup.config))
    known = {normalize_question(problem.question) for problem in trained}
    kept = tuple(problem for problem in found if normalize_question(problem.question) not in known)
    require(bool(kept), "all transfer problems are among the problems, which are trained on; choose another transfer")
    return kept, len(found) - len(kept)


def find_hard_problems(context: RunContext, compile_rest: Callable[[int], None]) -> HardSplit:
    """Finds and splits the problems that the base model never solves (paper: fail@128), once per workdir.

    Args:
      compile_rest: starts to compile the programs whose number of calls depends on the number of hard problems.
    """
    setup, section = context.setup, context.setup.config.hard_subset
    problems, source = context.candidates, context.source
    if source is not None:
        source.copy_counts(context.workdir)

    def report(num_solved: int, num_asked: int, num_left: int) -> None:
        each, note = section.samples_per_round, f"{num_solved} of {len(problems)} problems solved"
        context.display.progress("samples", num_asked * each, (num_asked + num_left) * each, note=note)
        context.display.check()

    with context.phase("finding problems that the base model never solves"):
        counts = count_correct(
            setup.evaluator,
            setup.base_weights,
            tasks.hard_search(setup, problems),
            folder=context.workdir,
            report=report,
            is_begun=has_begun(context.workdir),
        )
    processes.assert_equal("the hard problems", counts.tolist())
    hard = [problem for problem, count in zip(problems, counts, strict=True) if count == 0]
    split = hard_subset.split_hard(hard, setup.config.seed, section.validation_share)
    wanted = setup.config.outer.num_reward_questions
    require(
        not setup.config.measures_students or len(split.train) >= wanted,
        f"outer.num_reward_questions is {wanted}, but hard train has only "
        f"{len(split.train)} problems; lower it or raise hard_subset.num_candidates",
    )
    if source is not None:
        source.check_split(split)
    context.display.say(
        f"{len(hard)} of {len(problems)} problems were solved 0 times in {section.num_samples}: "
        f"{hard_subset.sizes_text(split)}{paper_pools.described(setup.config)}"
    )
    context.say_compiled()
    compile_rest(len(hard))
    return split


def restore(context: RunContext, split: HardSplit) -> tuple[RunArrays, Progress]:
    """Restores the newest saved state and truncates the files to it; the initial state if there is none.

    A run that starts from a finished one takes that one's state, and has no steps of its own.
    """
    if context.source is not None:
        arrays, progress = context.source.restore(context.setup)
        context.display.say(
            f"starting from {context.source.workdir} after its outer step {context.source.step}, with "
            f"{len(progress.promotions)} promotions"
        )
        context.files.open_at({})
        context.tracking.open_at(0)
        return arrays, progress
    arrays = initial_arrays(context.setup)
    found = context.checkpoints.restore_newest(arrays, context.display.say)
    if found is None:
        if context.setup.config.num_outer_steps:  # the checkpoints were removed, so results are of another state
            remove_results(context.workdir)
        with context.phase("measuring the base model"):
            progress = initial_progress(context.setup, split)
    else:
        step, arrays, record = found
        progress = Progress.from_json(record["progress"])
        context.clock.earlier_s = record["wall_s"]
        context.display.say(f"resuming after outer step {step}")
    context.files.open_at(progress.file_sizes)
    context.tracking.open_at(progress.outer_step)
    return arrays, progress
