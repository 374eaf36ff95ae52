"""MLflow: the server or store of MLFLOW_TRACKING_URI, or a database in the workdir."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from soar_jax.errors import require
from soar_jax.storage import files
from soar_jax.telemetry.trackers.tracker import TRACKERS, Report, TrackedRun, Tracker, redact, to_json_lines

_RUN_TAG = "soar_jax.run_id"
_STEP = "outer_step"  # metric that every step has
_MAX_PARAM_CHARACTERS = 6000  # limits of MLflow
_MAX_PARAMS = 100
# A server that is gone holds the run up for a minute, not for half an hour.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # that of MLflow's authors
}


@TRACKERS.register("mlflow")
class MLflowTracker(Tracker):
    """Config as parameters, environment as tags, a point a step, tables and the learning curve as artifacts."""

    packages = ("mlflow", "sqlalchemy", "alembic")
    extra = "mlflow"

    @classmethod
    def check(cls, offline: bool, folder: epath.Path) -> None:
        super().check(offline, folder)
        in_bucket = offline and files.is_in_bucket(folder)
        require(not in_bucket, f"mlflow keeps a database offline, which {folder} cannot hold; use a local --workdir")

    def __init__(self, run: TrackedRun) -> None:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # after the import, which sets it

        folder = files.absolute(run.folder)
        uri = f"sqlite:///{folder}/mlflow.db" if run.offline else mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._id = self._find_or_create(run, f"file://{folder}/mlartifacts" if run.offline else None)
        self._client.update_run(self._id, status="RUNNING")
        history = self._client.get_metric_history(self._id, _STEP)
        self.last_step = max((point.step for point in history), default=-1)
        self.where = redact(f"{uri}, run {self._id}")

    def _find_or_create(self, run: TrackedRun, artifacts: str | None) -> str:
        """Returns MLflow's id of the run."""
        client = self._client
        known = client.get_experiment_by_name(run.project)
        experiment = (
            known.experiment_id if known else client.create_experiment(run.project, artifact_location=artifacts)
        )
        found = client.search_runs([experiment], filter_string=f"tags.`{_RUN_TAG}` = '{run.run_id}'")
        tags = {key: str(value)[:_MAX_PARAM_CHARACTERS] for key, value in run.environment.items()}
        tags |= {_RUN_TAG: run.run_id, "mlflow.source.git.commit": str(run.environment.get("git_commit", ""))}
        mlflow_run = found[0] if found else client.create_run(experiment, run_name=run.name, tags=tags)
        if not mlflow_run.data.params:  # they cannot be changed later
            self._log_params(mlflow_run.info.run_id, run.flat_config)
        return str(mlflow_run.info.run_id)

    def _log_params(self, run_id: str, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:_MAX_PARAM_CHARACTERS]) for key, value in config.items()]
        for start in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _MAX_PARAMS])

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        self._log_metrics(step, dict(values) | {_STEP: step})

    def log_report(self, report: Report) -> None:
        for name, rows in report.tables().items():
            self._client.log_text(self._id, to_json_lines(rows), f"{name}.jsonl")
        if (figure := report.figure()) is not None:
            self._client.log_image(self._id, figure, "learning_curve.png")
        self._log_metrics(report.step, report.results)  # last, as artifacts may be written twice and points may not

    def _log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(re.sub(r"[^\w./ -]", "_", name), value, now_ms, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")
