"""Finds the problems of a benchmark that a policy never solves, and saves them as a benchmark."""

from __future__ import annotations

import dataclasses
from typing import Any

from etils import epath

from soar_jax.config.run_config import RunConfig
from soar_jax.evaluation.hard_search import count_correct
from soar_jax.runs import out_folder, tasks
from soar_jax.runs.progress import WorkProgress
from soar_jax.storage import files
from soar_jax.storage.records import replace_text, to_line

FIELDS = ("question", "answer", "subject", "level")


def filter_hard(config: RunConfig, model: str, out: epath.Path) -> list[dict[str, Any]]:
    """Counts correct answers by the config's section `hard_subset`, resuming an earlier start.

    Args:
      model: as in `policies.load`.

    Returns:
      The rows of `hard_problems.jsonl`, the problems that were never solved; `hard_subset.jsonl` has all counts.

    Raises:
      SettingsError: the config, the model or the folder cannot be used.
      InterruptedRunError: a stop signal has come; the same call resumes.
    """
    task = tasks.prepare(config, model, out=out, unit="samples")
    setup, problems, progress = task.setup, task.problems, task.progress
    section = config.hard_subset

    def report(num_solved: int, num_asked: int, num_left: int) -> None:
        progress.update(num_asked, num_left, f"{num_solved} of {len(problems)} problems solved")

    settings = task.settings(setup.evaluation_sampling(section.temperature, section.top_p))
    draws = {"num_samples": section.num_samples, "samples_per_round": section.samples_per_round}
    with out_folder.claim_out_folder(out, {"program": "filter_hard"} | settings | draws):
        try:
            search = tasks.hard_search(setup, problems)
            counts = count_correct(
                setup.evaluator, setup.base_weights, search, folder=out, report=report, is_begun=False
            )
        finally:
            progress.close()
        rows = [
            dataclasses.asdict(problem) | {"num_correct": 0, "num_samples": section.num_samples}
            for problem, count in zip(problems, counts, strict=True)
            if count == 0
        ]
        replace_text(out / "hard_problems.jsonl", "".join(map(to_line, rows)))
    progress.say(f"{len(rows)} of {len(problems)} problems were solved 0 times in {section.num_samples}")
    _say_usage(progress, out / "hard_problems.jsonl")
    return rows


def _say_usage(progress: WorkProgress, path: epath.Path) -> None:
    """Prints the flags by which a run uses the problems."""
    fields = " ".join(f"--config.problems.fields.{name}={name}" for name in FIELDS)
    here, copied = (path.name, " (once copied here)") if files.is_in_bucket(path) else (path, "")
    progress.say(f"as problems of a run{copied}: --config.problems.source=jsonl --config.problems.path={here} {fields}")
