"""TensorBoard: event files in the workdir."""

from __future__ import annotations

import json
import pathlib
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from soar_jax.storage import files
from soar_jax.telemetry.trackers.tracker import TRACKERS, Report, TrackedRun, Tracker, to_json_lines


@TRACKERS.register("tensorboard")
class TensorBoardTracker(Tracker):
    """Scalars of each outer step; config, results, questions and learning curve under Text and Images."""

    packages = ("tensorboardX",)

    def __init__(self, run: TrackedRun) -> None:
        from tensorboardX import SummaryWriter

        self._folder = run.folder / "tensorboard"
        # Events of a bucket are written here before they are copied.
        self._scratch = tempfile.TemporaryDirectory() if files.is_in_bucket(run.folder) else None
        target = self._scratch.name if self._scratch is not None else str(self._folder)
        self._events = SummaryWriter(
            target,
            purge_step=run.next_step,  # hides later steps of earlier files
            filename_suffix=f".{time.time_ns() % 10**9:09d}",  # names tell seconds, and one would replace another
        )
        self.last_step = run.next_step - 1
        if run.next_step == 0:
            self._write_text("config", json.dumps(run.config, indent=2, ensure_ascii=False), 0)
            self._write_text("environment", json.dumps(run.environment, indent=2), 0)
            self._flush()

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._flush()

    def log_report(self, report: Report) -> None:
        for name, rows in report.tables().items():
            self._write_text(name, to_json_lines(rows), report.step)
        if (figure := report.figure()) is not None:
            self._events.add_image("learning_curve", _pixels(figure), report.step, dataformats="HWC")
        self._flush()

    def _write_text(self, name: str, text: str, step: int) -> None:
        """Writes text as a code block, so that nothing in it is read as Markdown."""
        self._events.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), step)

    def _flush(self) -> None:
        self._events.flush()
        if self._scratch is not None:
            for file in pathlib.Path(self._scratch.name).iterdir():
                files.write(self._folder / file.name, file.read_bytes())

    def close(self, finished: bool) -> None:
        self._events.close()
        if self._scratch is not None:
            self._scratch.cleanup()


def _pixels(figure: Any) -> np.ndarray:
    return np.asarray(figure.convert("RGB"))
