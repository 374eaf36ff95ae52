"""Functions for notebooks and scripts: run a method, read its workdir, use its policies, grade answers.

    import soar_jax

    config = soar_jax.method_config("soar_math")
    soar_jax.run(config, "runs/first")
    soar_jax.read_workdir("runs/first").results
    soar_jax.load_policy("runs/first").generate(["dial 9 8 7 triple first+second . . . . . ."])

JAX and the run's modules are imported by the call that needs them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import ml_collections

from soar_jax.config import RunConfig, method_config, read_config
from soar_jax.errors import SettingsError, require

if TYPE_CHECKING:
    import pandas

    from soar_jax.config.sections import GradingSection
    from soar_jax.grading.grader import Grader
    from soar_jax.report.read import Run
    from soar_jax.soar.setup import Setup

__all__ = ["LoadedPolicy", "RunFrames", "grade", "load_policy", "method_config", "read_workdir", "run"]

Path: TypeAlias = "str | os.PathLike[str]"
Config: TypeAlias = RunConfig | ml_collections.ConfigDict | str


def run(config: Config, workdir: Path) -> dict[str, Any]:
    """Runs a config in a workdir, resuming from what an earlier call has saved; prints its progress.

    >>> config = soar_jax.method_config("soar_math")
    >>> config.num_outer_steps = 2
    >>> summary = soar_jax.run(config, workdir)
    >>> summary["outer_steps"]
    2

    Args:
      config: of `method_config`, or "METHOD:SCALE".
      workdir: a folder, or gs://BUCKET/FOLDER.

    Returns:
      The contents of `summary.json`.

    Raises:
      SettingsError: the config, the model or the workdir cannot be used.
      NotFiniteError: a loss or gradient is not finite.
      InterruptedRunError: a stop signal has come; the same call resumes.
    """
    from soar_jax import parallel
    from soar_jax.parallel.compilation_cache import keep_compiled_programs
    from soar_jax.storage import files

    typed = _typed(config)
    folder = files.to_path(os.fspath(workdir))
    parallel.set_num_cpu_devices(typed.mesh.cpu_devices)
    keep_compiled_programs()
    from soar_jax.runs import run as program  # after the CPU is split into devices

    with _own_signal_handlers(), _ending_workers(typed.grading):
        return program.run(typed, folder)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedPolicy:
    """A policy on the devices, made by `load_policy`."""

    name: str  # description
    _setup: Setup

    def generate(
        self, questions: Sequence[str], num_samples: int = 1, *, temperature: float | None = None, seed: int = 0
    ) -> list[list[str]]:
        """Samples completions of questions, put into the config's student prompt.

        >>> policy = soar_jax.load_policy("embedded:nano", config="soar_math")
        >>> completions = policy.generate(["dial 9 8 7 triple first+second . . . . . ."], num_samples=2)
        >>> len(completions), len(completions[0])
        (1, 2)

        Args:
          questions: a compiled program serves all calls with the same number of them and of samples.
          temperature: 0 is greedy; default: the config's `evaluation.temperature`.

        Returns:
          A list of `num_samples` completions for each question.

        Raises:
          SettingsError: there is no question, or one is too long or has a special token; or a number cannot be used.
        """
        from soar_jax.rng import stream_key
        from soar_jax.sampling.text import Draw

        setup, evaluation = self._setup, self._setup.config.evaluation
        chosen = evaluation.temperature if temperature is None else temperature
        require(not isinstance(questions, str) and bool(questions), "questions must be a list of at least one question")
        require(num_samples >= 1 and chosen >= 0, "num_samples must be at least 1, and temperature at least 0")
        for question in questions:
            require(
                setup.sampler.fits(question),
                f"the question {question[:60]!r} has a special token, or is too long with its prompt: "
                f"{max(setup.config.prompts.bucket_tokens)} tokens at most (prompts.bucket_tokens)",
            )
        draw = Draw(
            key=stream_key(seed, "generate"),
            settings=setup.evaluation_sampling(chosen, evaluation.top_p),
            num_samples=num_samples,
        )
        size = min(len(questions), setup.evaluator.prompts_per_call)
        evaluator = dataclasses.replace(setup.evaluator, prompts_per_call=size)
        calls = evaluator.iterate_texts(setup.base_weights, questions, draw)
        return [samples.tolist() for _, texts in calls for samples in texts[0]]


def load_policy(source: Path, config: Config | None = None) -> LoadedPolicy:
    """Loads a policy: a run's promoted student or teacher, or a model.

    >>> soar_jax.load_policy("embedded:nano", config="soar_math").name
    'embedded:nano'

    Args:
      source: a run's workdir, with ":teacher" behind it for its teacher; or a model: "embedded:nano", a Hugging Face
        folder, a hub id or a GGUF file.
      config: its prompts, lengths, sampling and mesh are used. A model needs one; of a run it is the run's own by
        default, except for its mesh: every device then has a copy of the policy.

    Raises:
      SettingsError: there is no such policy, it cannot be read, or it does not fit the config.
    """
    from soar_jax import parallel
    from soar_jax.parallel.compilation_cache import keep_compiled_programs
    from soar_jax.runs import policies

    name = os.fspath(source)
    typed = _policy_config(name) if config is None else _typed(config)
    with contextlib.suppress(SettingsError):  # JAX may have started with another number, which serves as well
        parallel.set_num_cpu_devices(typed.mesh.cpu_devices)
    keep_compiled_programs()
    import jax

    from soar_jax.runs.build import build

    typed = typed.for_platform(jax.devices()[0].platform)
    policy = policies.load(name, typed.model.dtype)
    return LoadedPolicy(name=policy.name, _setup=build(typed, policy.model, trains=False))


def grade(gold: str | float, answer: str) -> str:
    r"""Grades an answer against a gold answer by mathematical equality.

    >>> soar_jax.grade("1/2", r"so it is \boxed{0.5}")
    'correct'
    >>> soar_jax.grade("1/2", "2")
    'wrong'

    A pair that computer algebra must decide waits for a worker process to start, which ends with the call. To grade
    many pairs use `python -m soar_jax.grading`.

    Args:
      gold: the gold answer, or a worked solution that ends with `\boxed{…}` or `#### …`.
      answer: a text whose last `\boxed{…}` is its answer, or else the answer itself.

    Returns:
      "correct", "wrong", "unparsable", "timeout" or "lost"; docs/tools.md explains them.
    """
    from soar_jax.grading.pairs import GRADER, read_pair

    gold_text, final = read_pair(gold, answer)
    with _ending_workers(GRADER):
        return GRADER.compare([final], [gold_text])[0].value


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFrames:
    """Files of a workdir as pandas frames, made by `read_workdir`; a file that does not exist yet is an empty frame."""

    config: dict[str, Any]
    metrics: pandas.DataFrame  # a row per outer step
    ledger: pandas.DataFrame  # a row per question of the outer loop; `promoted` is 1 where its dataset was promoted
    curriculum: pandas.DataFrame  # a row per question of the final students
    results: pandas.DataFrame  # a row per tested policy and test: pass@k in percent, means over problems and replicas
    damage: tuple[str, ...]  # what of the files could not be read


def read_workdir(path: Path) -> RunFrames:
    """Reads a run's workdir, also of a run that is unfinished or running.

    >>> frames = soar_jax.read_workdir(workdir)
    >>> list(frames.metrics["outer_step"])
    [0, 1]
    >>> questions = frames.ledger[["outer_step", "question", "answer", "reward"]]

    Args:
      path: a folder on this machine.

    Raises:
      SettingsError: the folder holds no run, or several; or pandas is missing.
    """
    require(importlib.util.find_spec("pandas") is not None, "read_workdir needs: pip install 'soar-jax[notebook]'")
    import pandas

    from soar_jax.report.read import read_runs
    from soar_jax.storage import files

    found = read_runs([files.to_local(os.fspath(path))])
    require(len(found) == 1, f"{path} holds {len(found)} runs; name the workdir of one")
    (own,) = found
    return RunFrames(
        config=own.config,
        metrics=pandas.DataFrame(own.metrics),
        ledger=pandas.DataFrame(own.ledger),
        curriculum=pandas.DataFrame(own.curriculum),
        results=pandas.DataFrame(_result_rows(own)),
        damage=own.damage,
    )


def _result_rows(own: Run) -> list[dict[str, Any]]:
    """Makes a row for each tested policy and test."""
    import numpy as np

    from soar_jax.evaluation.pass_at_k import summarize

    rows = []
    for policy, result in own.results.items():
        for test, counts in result["tests"].items():
            num_samples = counts["num_samples"]
            ks = [k for k in own.config["evaluation"]["pass_at"] if k <= num_samples]
            means = summarize(np.array(counts["num_correct"]), num_samples, ks)
            rows.append(
                {"policy": policy, "test": test, "student_steps": result["student_steps"]}
                | {f"pass@{k}": 100 * means[f"pass@{k}"] for k in ks}
                | {"num_problems": len(counts["ids"])}
            )
    return rows


def _typed(config: Config) -> RunConfig:
    """Makes the typed config."""
    if isinstance(config, RunConfig):
        return config
    if isinstance(config, str):
        method, _, scale = config.partition(":")
        config = method_config(method, scale)
    return read_config(config)


def _policy_config(source: str) -> RunConfig:
    """Returns the config of the run that a policy belongs to, for whatever devices there are."""
    from soar_jax.runs import policies

    config = policies.config_of(source)
    if config is None:
        raise SettingsError(f"{source} is no run's workdir: give a config, such as config='soar_math:llama3.2-3b'")
    mesh = dataclasses.replace(config.mesh, population=-1, data=1, fsdp=1, tensor=1)
    return dataclasses.replace(config, mesh=mesh, lora=dataclasses.replace(config.lora, rank=0))  # adapters are merged


@contextlib.contextmanager
def _ending_workers(grader: Grader | GradingSection) -> Iterator[None]:
    """Ends the worker processes of a grader, which else live as long as the kernel of a notebook."""
    from soar_jax.grading.pool import shared_pool

    try:
        yield
    finally:
        shared_pool(grader.num_workers, grader.deadline_s).close()


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Brings the handlers of stop signals back as they were, so that a notebook can interrupt its later cells."""
    require(
        threading.current_thread() is threading.main_thread(), "run handles stop signals: call it in the main thread"
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
