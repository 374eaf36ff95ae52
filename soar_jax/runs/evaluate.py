"""Measures a policy's pass@k on a benchmark, and saves all completions."""

from __future__ import annotations

from typing import Any

import numpy as np
from etils import epath
from rich.table import Table

from soar_jax.command_line import command_line
from soar_jax.config.run_config import RunConfig
from soar_jax.evaluation.breakdown import breakdown
from soar_jax.grading.grader import Verdict
from soar_jax.runs import out_folder, tasks
from soar_jax.runs.completions import CompletionFile
from soar_jax.runs.progress import WorkProgress
from soar_jax.runs.tasks import EvalTask
from soar_jax.sampling.text import Draw
from soar_jax.storage.records import read_json, write_json


def evaluate(config: RunConfig, model: str, out: epath.Path) -> dict[str, Any]:
    """Evaluates a policy by the config's section `evaluation`, resuming an earlier start.

    Args:
      model: as in `policies.load`.

    Returns:
      The contents of `evaluation.json`.

    Raises:
      SettingsError: the config, the model or the folder cannot be used.
      InterruptedRunError: a stop signal has come; the same call resumes.
    """
    task = tasks.prepare(config, model, out=out, unit="answers")
    draw = task.setup.test_draw("evaluate", config.evaluation.num_samples)
    settings = task.settings(draw.settings) | {
        "num_samples": draw.num_samples,
        "pass_at": list(config.evaluation.pass_at),
    }
    with out_folder.claim_out_folder(out, {"program": "evaluate"} | settings):
        path = out / "evaluation.json"
        if not path.exists():
            verdicts = _sample_answers(task, draw, out / "completions.jsonl")
            made = {
                "command": command_line(),
                "settings": settings,
                "left_out": task.left_out,
                "tables": breakdown(task.problems, verdicts, config.evaluation.pass_at),
            }
            write_json(path, made)
        result: dict[str, Any] = read_json(path)
    _show(task.progress, result, out)
    return result


def _sample_answers(task: EvalTask, draw: Draw, path: epath.Path) -> np.ndarray:
    """Samples, grades and saves all completions, and returns their verdicts, [problems, samples] of str."""
    setup, problems, progress = task.setup, task.problems, task.progress
    file = CompletionFile(path, draw.num_samples)
    first = len(file.verdicts)
    calls = setup.evaluator.iterate_answers(setup.base_weights, problems[first:], draw, first_index=first)
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


def _show(progress: WorkProgress, result: dict[str, Any], out: epath.Path) -> None:
    """Prints pass@k of all problems, and per subject and level."""
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
