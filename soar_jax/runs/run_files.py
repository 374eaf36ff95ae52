"""The files that a run leaves in its workdir, and how they are cut back on resume."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Collection
from typing import Any

from etils import epath
from tensorboardX import SummaryWriter

from soar_jax.parallel import processes
from soar_jax.storage import files
from soar_jax.storage.records import JsonLines, read_lines, replace_text, to_line

Datasets = Collection[tuple[int, int]]  # outer step and number of each


class RunFiles:
    """`metrics.jsonl`, `ledger.jsonl`, `timings.jsonl` and TensorBoard events.

    Metrics and ledger are a pure function of the config; what depends on the clock is in
    the timings.
    """

    def __init__(self, workdir: epath.Path) -> None:
        """Nothing is written before `open_at`."""
        self._workdir = workdir
        self._lines = {name: JsonLines(workdir / f"{name}.jsonl") for name in ("metrics", "ledger", "timings")}
        self._events: SummaryWriter | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None  # of events on their way to a bucket

    def open_at(self, sizes: dict[str, int], step: int, promoted: Datasets) -> None:
        """Cuts the files back to the saved step's sizes (bytes) and marks, and starts writing there."""
        for name, lines in self._lines.items():
            lines.cut(sizes.get(name, 0))
            read_lines(lines.path)  # a broken row is better found now than at the next promotion
        if sizes.get("ledger"):
            _mark_promoted(self._lines["ledger"].path, promoted)
        if processes.is_main():
            folder = str(self._workdir / "tensorboard")
            if files.is_in_bucket(self._workdir):
                self._scratch = tempfile.TemporaryDirectory()
                folder = self._scratch.name
            self._events = SummaryWriter(folder, purge_step=step)

    def write_step(
        self, metrics: dict[str, Any], ledger: list[dict[str, Any]], timings: dict[str, Any], promoted: Datasets
    ) -> dict[str, int]:
        """Adds a step's rows, marks the datasets promoted so far in the ledger; the files' sizes in bytes."""
        rows = {"metrics": [metrics], "ledger": ledger, "timings": [timings]}
        sizes = {name: lines.append(rows[name]) for name, lines in self._lines.items()}
        if metrics["promoted"]:
            _mark_promoted(self._lines["ledger"].path, promoted)
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
                files.put(self._workdir / "tensorboard" / file.name, file.read_bytes())

    def close(self) -> None:
        """Closes the event file."""
        if self._events is not None:
            self._events.close()
        if self._scratch is not None:
            self._scratch.cleanup()


def _mark_promoted(path: epath.Path, promoted: Datasets) -> None:
    # "promoted" is one digit, so marking moves no byte and saved sizes stay true.
    rows = read_lines(path)
    for row in rows:
        row["promoted"] = int((row["outer_step"], row["dataset"]) in promoted)
    replace_text(path, "".join(to_line(row) for row in rows))
