"""The files of a workdir that a run appends to, truncated on resume."""

from __future__ import annotations

from typing import Any

from etils import epath

from soar_jax.soar.state import StepResult
from soar_jax.storage.records import JsonLines, read_lines

NAMES = ("metrics", "ledger", "completions", "timings")


class RunFiles:
    """`metrics.jsonl`, `ledger.jsonl`, `completions.jsonl` and `timings.jsonl`.

    All but the timings, which depend on the clock, are a pure function of the config.
    """

    def __init__(self, workdir: epath.Path) -> None:
        self._lines = {name: JsonLines(workdir / f"{name}.jsonl") for name in NAMES}

    def open_at(self, sizes: dict[str, int]) -> None:
        """Truncates the files to the saved step's sizes in bytes."""
        for name, lines in self._lines.items():
            lines.truncate(sizes.get(name, 0))
            read_lines(lines.path)  # raises now, not at the end of the run, if a row is broken

    def write_step(self, step: StepResult, timings: dict[str, Any]) -> dict[str, int]:
        """Appends a step's rows, and returns the sizes of the files in bytes."""
        rows = {
            "metrics": [step.metrics],
            "ledger": step.ledger,
            "completions": step.completions,
            "timings": [timings],
        }
        return {name: lines.append(rows[name]) for name, lines in self._lines.items()}
