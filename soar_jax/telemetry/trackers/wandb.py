"""Weights & Biases: its cloud, a server of one's own (WANDB_BASE_URL), or files for a later `wandb sync`."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from etils import epath

from soar_jax.errors import SettingsError, require
from soar_jax.storage import files
from soar_jax.telemetry.trackers.tracker import (
    TRACKERS,
    Report,
    TrackedRun,
    Tracker,
    columns_and_data,
    redact,
    safe_reason,
)
from soar_jax.telemetry.trackers.wandb_files import last_step, wait_for_step

_SETTINGS: dict[str, Any] = {
    "silent": True,
    "console": "off",  # output stays the run's own
    "disable_git": True,  # the environment has the commit, and a remote's URL may hold a password
    "disable_code": True,
    "x_disable_stats": True,
    "finish_timeout": 60,  # seconds; what could not be sent then stays in the folder
    "finish_timeout_raises": True,
}


@TRACKERS.register("wandb")
class WandbTracker(Tracker):
    """Config and environment, a point a step, tables of results and questions, the learning curve."""

    packages = ("wandb",)
    extra = "wandb"

    @classmethod
    def check(cls, offline: bool, folder: epath.Path) -> None:
        super().check(offline, folder)
        if _is_offline(offline):
            in_bucket = files.is_in_bucket(folder)
            require(not in_bucket, f"wandb writes its files offline, which {folder} cannot hold; use a local --workdir")
            return
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        try:
            has_key = wandb.login(prompt=False, verify=False)
        except Exception as error:  # a key of the wrong form
            raise SettingsError(f"wandb refuses its key ({safe_reason(error)}); mend it with `wandb login`") from None
        require(
            has_key,
            "wandb has no key; set WANDB_API_KEY, log in with `wandb login`, or use tracking.offline=True",
        )

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._wandb, self._offline = wandb, _is_offline(run.offline)
        self._folder, self._run_id, self._newest = pathlib.Path(run.folder) / "wandb", run.run_id, -1
        # A bucket cannot hold what waits to be sent.
        self._scratch = tempfile.TemporaryDirectory() if files.is_in_bucket(run.folder) else None
        # W&B keeps what it was given for some seconds before it writes, so only the files know what a kill has lost.
        stored = last_step(self._folder, run.run_id) if self._offline else None
        self._run = wandb.init(
            project=run.project,
            id=run.run_id,
            name=run.name,
            dir=self._scratch.name if self._scratch is not None else str(run.folder),
            mode="offline" if run.offline else None,
            resume="allow",
            config=run.config | {"environment": run.environment},
            settings=wandb.Settings(**_SETTINGS),
        )
        self.last_step = stored if self._offline else self._run.starting_step - 1
        self.where = f"wandb sync {self._folder}/offline-run-*-{run.run_id}"
        if not self._offline:
            self.where = redact(self._run.url or "")

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)
        self._newest = step

    def log_report(self, report: Report) -> None:
        logged: dict[str, Any] = {}
        for name, rows in report.tables().items():
            columns, data = columns_and_data(rows)
            logged[name] = self._wandb.Table(columns=columns, data=data, allow_mixed_types=True)
        if (figure := report.figure()) is not None:
            logged["learning_curve"] = self._wandb.Image(figure)
        self._run.log(logged, step=report.step)
        self._newest = report.step
        self._run.summary.update(report.results)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
        if self._offline:
            wait_for_step(self._folder, self._run_id, self._newest)
        if self._scratch is not None:
            self._scratch.cleanup()


def _is_offline(offline: bool) -> bool:
    return offline or os.environ.get("WANDB_MODE", "online") != "online"
