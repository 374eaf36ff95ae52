"""Trackio: files on this machine, a Space of the Hugging Face hub (TRACKIO_SPACE_ID), or a server of one's own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from soar_jax.errors import require
from soar_jax.telemetry.trackers.tracker import TRACKERS, Report, TrackedRun, Tracker, columns_and_data

_ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>!|#])")


@TRACKERS.register("trackio")
class TrackioTracker(Tracker):
    """Config and environment, a point a step, tables of results and questions, the learning curve."""

    packages = ("trackio",)
    extra = "trackio"

    @classmethod
    def check(cls, offline: bool, folder: epath.Path) -> None:
        super().check(offline, folder)
        elsewhere = [name for name in _ELSEWHERE if os.environ.get(name)]
        require(not (offline and elsewhere), f"tracking.offline is True, but {', '.join(elsewhere)} is set; unset it")
        if "TRACKIO_SPACE_ID" in elsewhere:
            from huggingface_hub import get_token

            require(get_token() is not None, "trackio has no token for TRACKIO_SPACE_ID; log in with `hf auth login`")

    def __init__(self, run: TrackedRun) -> None:
        import trackio

        self._trackio = trackio
        with _quiet():
            self._run = trackio.init(
                project=run.project,
                name=f"{run.name}-{run.run_id}",  # Trackio resumes by name
                config=run.config | {"environment": run.environment},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.last_step = self._run._initial_last_step  # private, but the only place where it says so; None if new
        self.where = f"trackio show --project {run.project}"

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def log_report(self, report: Report) -> None:
        logged: dict[str, Any] = dict(report.results)
        for name, rows in report.tables().items():
            columns, data = columns_and_data(rows)
            data = [[_as_plain(value) for value in row] for row in data]
            logged[name] = self._trackio.Table(columns=columns, data=data)
        if (figure := report.figure()) is not None:
            logged["learning_curve"] = self._trackio.Image(figure)
        self._run.log(logged, step=report.step)

    def close(self, finished: bool) -> None:
        with _quiet():
            self._trackio.finish()  # of the open run, and its atexit hook has nothing left to say


def _as_plain(value: Any) -> Any:
    """Escapes text, which Trackio's tables read as Markdown."""
    return _MARKDOWN.sub(r"\\\1", value) if isinstance(value, str) else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what Trackio prints, and raises what it only warns of.

    Raises:
      RuntimeError: a warning of Trackio.
    """
    with warnings.catch_warnings(record=True) as found, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        yield
    own = [str(each.message) for each in found if each.category is UserWarning and "trackio" in each.filename]
    if own:
        raise RuntimeError(own[0])
