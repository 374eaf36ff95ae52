"""A policy's pass@k on a benchmark, and every completion that it rests on."""

from __future__ import annotations

import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from soar_jax.evaluation.breakdown import breakdown
from soar_jax.grading.grader import Verdict
from soar_jax.storage.records import read_json, write_json
from soar_jax.runs.progress import WorkProgress
from soar_jax.rng import stream_key
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.runs import out_folder, tasks
from soar_jax.runs.completions import CompletionFile
from soar_jax.runs.build import Setup
from soar_jax.types import Problem


def evaluate(config: Any, model: str, out: pathlib.Path) -> dict[str, Any]:
    """Examines a policy as `evaluation` in the config says, going on where an earlier start has stopped.

    Args:
      model: what `policies.load` takes.

    Returns:
      The contents of `evaluation.json`.

    Raises:
      SettingsError: the config, the model or the folder is not usable.
      InterruptedRunError: a stop signal came; the same call resumes.
    """
    asked = tasks.prepare(config, model, out=out, unit="answers")
    settings = asked.settings(_sampling(asked.setup)) | {
        "num_samples": config.evaluation.num_samples,
        "pass_at": list(config.evaluation.pass_at),
    }
    with out_folder.claim(out, {"program": "evaluate"} | settings):
        path = out / "evaluation.json"
        if not path.exists():
            verdicts = _answer(asked.setup, asked.problems, path=out / "completions.jsonl", progress=asked.progress)
            made = {
                "command": shlex.join(["python", *sys.argv]),
                "settings": settings,
                "left_out": asked.left_out,
                "tables": breakdown(asked.problems, verdicts, config.evaluation.pass_at),
            }
            write_json(path, made)
        result: dict[str, Any] = read_json(path)
    _show(asked.progress, result, out)
    return result


def _sampling(setup: Setup) -> SamplingSettings:
    evaluation = setup.config.evaluation
    return setup.evaluation_sampling(evaluation.temperature, evaluation.top_p)


def _answer(setup: Setup, problems: Sequence[Problem], path: pathlib.Path, progress: WorkProgress) -> np.ndarray:
    """Draws and keeps all completions; their verdicts, [problems, samples] of str."""
    num_samples = setup.config.evaluation.num_samples
    file = CompletionFile(path, num_samples)
    first = len(file.verdicts)
    key = stream_key(setup.config.seed, "evaluate")
    calls = setup.evaluator.ask(setup.start, problems[first:], key, _sampling(setup), num_samples, first)
    try:
        for answers in calls:
            done = len(file.verdicts)
            file.add(problems[done : done + len(answers)], answers)
            done += len(answers)
            solved = sum(Verdict.CORRECT.value in drawn for drawn in file.verdicts)
            progress.update(done, len(problems) - done, f"{solved} of {done} problems solved")
    finally:
        progress.close()
    file.finish()
    return np.array(file.verdicts)


def _show(progress: WorkProgress, result: dict[str, Any], out: pathlib.Path) -> None:
    ks, tables = result["settings"]["pass_at"], result["tables"]
    table = Table(title="solved within k samples (%), with 95% intervals over problems", title_justify="left")
    table.add_column("")
    for name in ("problems", *(f"pass@{k}" for k in ks)):
        table.add_column(name, justify="right")
    named = {"all": tables["overall"]}
    named |= {f"subject {name or '(none)'}": row for name, row in tables["subjects"].items()}
    named |= {f"level {level}": row for level, row in tables["levels"].items()}
    for name, row in named.items():
        table.add_row(name, str(row["num_problems"]), *(_percent(row[f"pass@{k}"]) for k in ks))
    progress.say(table)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tables["overall"]["verdicts"].items())
    progress.say(f"answers: {counts}\neverything is in {out}")


def _percent(interval: dict[str, float]) -> str:
    return "{mean:.1f} [{low:.1f}, {high:.1f}]".format(**{name: 100 * value for name, value in interval.items()})
