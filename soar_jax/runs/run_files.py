"""The files of a workdir that a run appends to, truncated on resume."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from etils import epath
from tensorboardX import SummaryWriter

from soar_jax.parallel import processes
from soar_jax.storage import files
from soar_jax.storage.records import JsonLines, read_lines


class RunFiles:
    """`metrics.jsonl`, `ledger.jsonl`, `timings.jsonl` and TensorBoard events.

    Metrics and ledger are a pure function of the config; timings depend on the clock.
    """

    def __init__(self, workdir: epath.Path) -> None:
        self._workdir = workdir
        self._lines = {name: JsonLines(workdir / f"{name}.jsonl") for name in ("metrics", "ledger", "timings")}
        self._events: SummaryWriter | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None  # for events before they are copied to a bucket

    def open_at(self, sizes: dict[str, int], step: int) -> None:
        """Truncates the files to the saved step's sizes in bytes, and opens TensorBoard events at `step`."""
        for name, lines in self._lines.items():
            lines.truncate(sizes.get(name, 0))
            read_lines(lines.path)  # raises now, not at the end of the run, if a row is broken
        if processes.is_main():
            folder = str(self._workdir / "tensorboard")
            if files.is_in_bucket(self._workdir):
                self._scratch = tempfile.TemporaryDirectory()
                folder = self._scratch.name
            self._events = SummaryWriter(folder, purge_step=step)

    def write_step(
        self, metrics: dict[str, Any], ledger: list[dict[str, Any]], timings: dict[str, Any]
    ) -> dict[str, int]:
        """Appends a step's rows, and returns the sizes of the files in bytes."""
        rows = {"metrics": [metrics], "ledger": ledger, "timings": [timings]}
        sizes = {name: lines.append(rows[name]) for name, lines in self._lines.items()}
        if self._events is not None:
            self._write_events(self._events, metrics | timings)
        return sizes

    def _write_events(self, events: SummaryWriter, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float) and name != "outer_step":
                events.add_scalar(name, float(value), values["outer_step"])
        events.flush()
        if self._scratch is not None:
            for file in pathlib.Path(self._scratch.name).iterdir():
                files.write(self._workdir / "tensorboard" / file.name, file.read_bytes())

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
        if self._scratch is not None:
            self._scratch.cleanup()
