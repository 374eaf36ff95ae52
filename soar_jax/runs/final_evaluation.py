"""After the outer loop: fresh students are trained, and every policy is tested once."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.evaluation.pass_at_k import summarize
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.storage import files
from soar_jax.runs.display import Phase
from soar_jax.storage.records import read_json, remove, replace_text, to_line, write_json
from soar_jax.rng import stream_key
from soar_jax.settings import promotes
from soar_jax.soar import curricula
from soar_jax.soar.final_students import FinalStudents, train_through
from soar_jax.soar.ledger import question_row
from soar_jax.soar.self_play import train_by_self_play
from soar_jax.runs.build import Setup
from soar_jax.soar.state import Progress, RunArrays
from soar_jax.soar.curricula import Stage
from soar_jax.types import Problem

Result = dict[str, Any]  # the contents of one results/NAME.json
Count = Callable[[Sequence[Problem]], np.ndarray]  # right answers [replicas, problems]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What the outer loop has left, and what its policies are tested on."""

    setup: Setup
    workdir: epath.Path
    arrays: RunArrays
    progress: Progress
    split: HardSplit
    transfer: tuple[Problem, ...]
    phase: Phase

    @property
    def promoted_steps(self) -> int:
        """Student steps behind the promoted student."""
        return self.progress.best_promotion * self.setup.config.inner.num_steps

    @property
    def promotes(self) -> bool:
        """Whether this run's method has a promoted student."""
        return promotes(self.setup.config)


def conclude(search: Search) -> tuple[dict[str, Result], int]:
    """Trains the final students and tests every policy, each result in `results/NAME.json`.

    A result that an earlier start in this workdir has left is kept, not made again.

    Returns:
      The results by name: base, promoted_student where the method has one, and the kinds of `final.students`; and
      how many tokens the final students' questions took to write.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    setup = search.setup
    tokens_before = setup.sampler.meter.num_tokens
    stages = curricula.method_stages(setup, search.arrays, progress=search.progress, split=search.split)
    num_written = setup.sampler.meter.num_tokens - tokens_before
    rows = [dataclasses.asdict(problem) for problem in search.transfer]
    replace_text(search.workdir / "transfer.jsonl", "".join(map(to_line, rows)))
    search.split.test.unseal()
    makers: dict[str, Callable[[], Result]] = {"base": functools.partial(_test_policy, search, setup.start, 0)}
    if search.promotes:
        makers["promoted_student"] = functools.partial(_test_policy, search, search.arrays.best, search.promoted_steps)
    for name in setup.config.final.students:
        makers[name] = functools.partial(_train_and_test, search, name, stages)
    if stages:
        write_curriculum(search, stages)
    elif "self_play" not in setup.config.final.students:
        remove(search.workdir / "curriculum.jsonl")  # of another config, whose run got no further
    return {name: _kept_or_made(search, name, make) for name, make in makers.items()}, num_written


def kept_s(workdir: epath.Path) -> float:
    """Wall time behind the results that earlier starts in this workdir have left."""
    names = files.names(workdir / "results")
    return float(sum(read_json(workdir / "results" / name)["wall_s"] for name in names if name.endswith(".json")))


def tables(results: dict[str, Result], ks: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Mean pass@k of every policy on every test set, over problems and replicas."""
    return {
        name: {"student_steps": result["student_steps"], "num_replicas": result["num_replicas"]}
        | {
            test: summarize(np.array(values["num_correct"]), values["num_samples"], ks)
            | {"num_problems": len(values["ids"])}
            for test, values in result["tests"].items()
        }
        for name, result in results.items()
    }


def write_curriculum(search: Search, stages: Sequence[Stage]) -> None:
    """Writes `curriculum.jsonl`: every question of the synthetic stages."""
    rows = [
        {"stage": number, "stage_name": stage.name} | question_row(search.setup, item)
        for number, stage in enumerate(stages, start=1)
        for item in stage.questions
    ]
    replace_text(search.workdir / "curriculum.jsonl", "".join(map(to_line, rows)))


def _kept_or_made(search: Search, name: str, make: Callable[[], Result]) -> Result:
    path = search.workdir / "results" / f"{name}.json"
    if path.exists():
        kept: Result = read_json(path)
        return kept
    started, tokens_before = time.perf_counter(), search.setup.sampler.meter.num_tokens
    result: Result = {"policy": name} | make()
    result["num_sampled_tokens"] = search.setup.sampler.meter.num_tokens - tokens_before
    processes.assert_equal(f"the result {name!r}", result)
    result["wall_s"] = time.perf_counter() - started
    path.parent.mkdir(exist_ok=True)  # every process may
    write_json(path, result)
    return result


def _test_policy(search: Search, policy: Params, student_steps: int) -> Result:
    setup, (key, settings, samples) = search.setup, _draw(search)

    def count(problems: Sequence[Problem]) -> np.ndarray:
        return setup.evaluator.count_correct(policy, problems, key=key, settings=settings, samples_per_problem=samples)[None]

    return {
        "student_steps": student_steps,
        "trained_steps": 0,
        "num_replicas": 1,
        "curve": [],
        "tests": _test(search, count),
    }


def _train_and_test(search: Search, name: str, stages: tuple[Stage, ...]) -> Result:
    students = _train(search, name, stages)
    setup, (key, settings, samples) = search.setup, _draw(search)
    replicas = setup.config.final.num_replicas

    def count(problems: Sequence[Problem]) -> np.ndarray:
        return setup.evaluator.count_correct_population(students.params, replicas, problems=problems, key=key, settings=settings, samples_per_problem=samples)

    return {
        "student_steps": students.student_steps,
        "trained_steps": students.trained_steps,
        "num_replicas": replicas,
        "curve": students.curve,
        "tests": _test(search, count),
    }


def _train(search: Search, name: str, stages: tuple[Stage, ...]) -> FinalStudents:
    """Trains one kind of final students (see `final.students` in configs/scales.py)."""
    setup, split = search.setup, search.split
    start, steps_before = setup.start, 0
    if name == "self_play":
        students, written = train_by_self_play(setup, split, search.phase)
        write_curriculum(search, written)
        return students
    if name == "promoted":
        start, steps_before = search.arrays.best, search.promoted_steps
        stages = ()
    elif name == "hard_only":
        stages = ()
    elif name == "true_answers":
        stages = curricula.with_true_answers(setup, stages)
    elif name == "random_answers":
        stages = curricula.with_random_answers(setup, stages)
    full = curricula.with_hard_train(setup, stages, split=split, steps_before=steps_before)
    return train_through(setup, name, start=start, steps_before=steps_before, stages=full, split=split, phase=search.phase)


def _draw(search: Search) -> tuple[Any, Any, int]:
    """Key, sampling settings and samples a problem of the tests, the same for all policies."""
    evaluation = search.setup.config.evaluation
    settings = search.setup.evaluation_sampling(evaluation.temperature, evaluation.top_p)
    return stream_key(search.setup.config.seed, "test"), settings, evaluation.num_samples


def _test(search: Search, count: Count) -> dict[str, Any]:
    tests = {}
    for name, problems in {"hard_test": search.split.test.problems, "transfer": search.transfer}.items():
        with search.phase(f"testing on {name}"):
            counts = count(problems)
        tests[name] = {
            "num_samples": search.setup.config.evaluation.num_samples,
            "ids": [problem.id for problem in problems],
            "num_correct": counts.tolist(),
        }
    return tests
