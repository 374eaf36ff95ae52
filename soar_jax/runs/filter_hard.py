"""The problems of a benchmark that a policy never solves, as a benchmark of their own."""

from __future__ import annotations

import dataclasses
from typing import Any

from etils import epath

from soar_jax.storage import files
from soar_jax.storage.records import replace_text, to_line
from soar_jax.runs import out_folder, tasks
from soar_jax.evaluation import hard_search

FIELDS = ("question", "answer", "subject", "level")


def filter_hard(config: Any, model: str, out: epath.Path) -> list[dict[str, Any]]:
    """Counts right answers as `hard_subset` in the config says, going on where an earlier start has stopped.

    Args:
      model: what `policies.load` takes.

    Returns:
      The rows of `hard_problems.jsonl`: the problems that were never solved. All counts are in `hard_subset.jsonl`.

    Raises:
      SettingsError: the config, the model or the folder is not usable.
      InterruptedRunError: a stop signal came; the same call resumes.
    """
    asked = tasks.prepare(config, model, out=out, unit="samples")
    section, progress = config.hard_subset, asked.progress

    def report(num_solved: int, num_problems: int, num_asked: int, num_left: int) -> None:
        progress.update(num_asked, num_left, f"{num_solved} of {num_problems} problems solved")

    settings = asked.settings(asked.setup.evaluation_sampling(section.temperature, section.top_p))
    draws = {"num_samples": section.num_samples, "samples_per_round": section.samples_per_round}
    with out_folder.claim(out, {"program": "filter_hard"} | settings | draws):
        try:
            counts = hard_search.count_correct(asked.setup, asked.problems, folder=out, report=report)
        finally:
            progress.close()
        rows = [
            dataclasses.asdict(problem) | {"num_correct": 0, "num_samples": section.num_samples}
            for problem, count in zip(asked.problems, counts, strict=True)
            if count == 0
        ]
        path = out / "hard_problems.jsonl"
        replace_text(path, "".join(map(to_line, rows)))
    progress.say(f"{len(rows)} of {len(asked.problems)} problems were solved 0 times in {section.num_samples}")
    fields = " ".join(f"--config.problems.fields.{name}={name}" for name in FIELDS)
    here, copied = (path.name, " (once copied here)") if files.is_in_bucket(path) else (path, "")
    progress.say(f"as problems of a run{copied}: --config.problems.source=jsonl --config.problems.path={here} {fields}")
    return rows
