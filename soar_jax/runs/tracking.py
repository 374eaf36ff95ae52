"""Sends a run's metrics and results to its trackers, each step once, over all starts of the run.

The files of a workdir are the record of a run, and trackers show it. Whatever a tracker lacks of the record is sent
when the run is next started. A tracker that fails is left out until then, and changes no number of the run.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable
from typing import Any

from etils import epath

from soar_jax.config.execution_sections import TrackingSection
from soar_jax.config.run_config import RunConfig
from soar_jax.config.saved import as_json, differing_keys
from soar_jax.errors import SettingsError, require
from soar_jax.parallel import processes
from soar_jax.storage import files
from soar_jax.storage.records import read_json, read_lines
from soar_jax.telemetry.trackers import TRACKERS, Report, TrackedRun, Tracker
from soar_jax.telemetry.trackers.tracker import safe_reason

FILE = "tracking.json"  # of a workdir
_MAX_QUESTIONS = 10_000  # of the table of questions


@dataclasses.dataclass(kw_only=True)
class _Sent:
    """What a tracker was given."""

    last_step: int = -1
    has_report: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _State:
    """The contents of `tracking.json`."""

    run_id: str
    config: dict[str, Any]  # that the run was begun with
    trackers: dict[str, _Sent]

    def sent(self, name: str) -> _Sent:
        return self.trackers.setdefault(name, _Sent())

    def write(self, workdir: epath.Path) -> None:
        files.write(workdir / FILE, (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())


def check(section: TrackingSection, workdir: epath.Path) -> None:
    """Checks that the trackers can be opened, as far as that shows without network; writes nothing.

    Raises:
      SettingsError: a package or a key is missing, or `tracking.json` is broken.
    """

    def problem() -> str:
        try:
            for name in section.trackers:
                TRACKERS[name].check(section.offline, workdir)
            _read_state(workdir)
        except SettingsError as error:
            return str(error)
        return ""

    found = processes.broadcast_from_main(problem)  # the main process alone needs them, and all end alike
    require(not found, found)


class Tracking:
    """The trackers of a run; does nothing except in the main process."""

    def __init__(
        self, workdir: epath.Path, config: RunConfig, environment: dict[str, Any], *, say: Callable[[str], None]
    ) -> None:
        self._workdir = workdir
        self._config = config
        self._environment = environment
        self._say = say
        self._open: dict[str, Tracker] = {}
        self._state = _State(run_id="", config={}, trackers={})

    def open_at(self, step: int) -> None:
        """Opens the trackers, and sends the steps before `step` that they lack."""
        if not processes.is_main() or not self._config.tracking.trackers:
            return
        self._state = self._begun_state()
        rows = [read_lines(self._workdir / f"{name}.jsonl") for name in ("metrics", "timings")]
        for name in self._config.tracking.trackers:
            if not self._state.sent(name).has_report:
                self._guard(name, self._open_tracker, step)
        for metrics, timings in zip(*rows, strict=False):
            self.log_step(metrics, timings)

    def _begun_state(self) -> _State:
        """Reads the state; a new one if there is none, or if it is of another config whose run had no step."""
        state = _read_state(self._workdir)
        if state is None or differing_keys(state.config, self._config, identity_only=True):
            state = _State(run_id=uuid.uuid4().hex[:8], config=as_json(self._config.to_dict()), trackers={})
            state.write(self._workdir)
        return state

    def _open_tracker(self, name: str, step: int) -> None:
        sent, section = self._state.sent(name), self._config.tracking
        tracker = TRACKERS[name](
            TrackedRun(
                run_id=self._state.run_id,
                name=self._workdir.name,
                project=section.project,
                offline=section.offline,
                folder=self._workdir,
                config=as_json(self._config.to_dict()),
                environment=self._environment,
                next_step=min(sent.last_step + 1, step),
            )
        )
        self._open[name] = tracker
        if tracker.last_step is not None:
            sent.last_step = tracker.last_step
        if tracker.where:
            self._say(f"{name}: {tracker.where}")

    def log_step(self, metrics: dict[str, Any], timings: dict[str, Any]) -> None:
        """Sends an outer step to the trackers that lack it."""
        step = metrics["outer_step"]
        values = {
            name: float(value)
            for name, value in (metrics | timings).items()
            if isinstance(value, int | float) and name != "outer_step"
        }
        for name in list(self._open):
            if step > self._state.sent(name).last_step:
                self._guard(name, self._send_step, step, values)

    def _send_step(self, name: str, step: int, values: dict[str, float]) -> None:
        """Sends a step; noted before, so that a kill in between sends it never rather than twice."""
        sent = self._state.sent(name)
        before, sent.last_step = sent.last_step, step
        self._state.write(self._workdir)
        try:
            self._open[name].log_step(step, values)
        except Exception:
            sent.last_step = before
            self._state.write(self._workdir)
            raise

    def log_summary(self, summary: dict[str, Any]) -> None:
        """Sends the results to the trackers that lack them."""
        if not self._open:
            return
        report = _report(self._workdir, summary)
        for name in list(self._open):
            self._guard(name, self._send_report, report)

    def _send_report(self, name: str, report: Report) -> None:
        """Sends the results, and closes: only then is it certain that they have arrived."""
        self._open[name].log_report(report)
        self._close_tracker(name, True)
        self._state.sent(name).has_report = True
        self._state.write(self._workdir)

    def close(self) -> None:
        """Sends what waits, and closes the trackers that are open."""
        for name in list(self._open):
            self._guard(name, self._close_tracker, False)

    def _close_tracker(self, name: str, finished: bool) -> None:
        self._open.pop(name).close(finished)

    def _guard(self, name: str, use: Callable[..., None], *arguments: Any) -> None:
        """Uses a tracker; if it fails, says so once and leaves it out."""
        try:
            use(name, *arguments)
        except Exception as error:  # a tracker's package, server or network may fail in any way
            self._say(
                f"warning: the tracker {name} failed ({safe_reason(error)}); the run continues without it, and the "
                "next start sends what it lacks"
            )
            self._open.pop(name, None)


def _read_state(workdir: epath.Path) -> _State | None:
    """Reads `tracking.json`; None if there is none.

    Raises:
      SettingsError: it is broken.
    """
    path = workdir / FILE
    if not path.exists():
        return None
    found = read_json(path)
    try:
        trackers = {name: _Sent(**sent) for name, sent in found["trackers"].items()}
        return _State(run_id=str(found["run_id"]), config=dict(found["config"]), trackers=trackers)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SettingsError(f"{path} is broken; remove it, and the trackers begin a new run") from None


def _report(workdir: epath.Path, summary: dict[str, Any]) -> Report:
    """Makes the report of a finished run from its files."""
    policies = [
        {"test": test, "policy": policy} | values
        for policy, tests in summary["policies"].items()
        for test, values in tests.items()
        if isinstance(values, dict)
    ]
    figure = workdir / "learning_curve.png"
    return Report(
        step=summary["outer_steps"],
        results={
            f"{row['test']}/{row['policy']}/{key.replace('@', '_at_')}": value
            for row in policies
            for key, value in row.items()
            if key.startswith("pass@")
        },
        policies=policies,
        questions=read_lines(workdir / "curriculum.jsonl")[:_MAX_QUESTIONS],
        learning_curve=figure.read_bytes() if figure.exists() else b"",
    )
