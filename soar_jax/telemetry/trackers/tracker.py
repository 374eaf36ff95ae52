"""What every tracker has: the interface, its inputs, and the registry.

    @TRACKERS.register("mine")
    class MyTracker(Tracker): ...

The run catches what a tracker raises, and continues without it. A tracker imports its package only when it is opened.
"""

from __future__ import annotations

import abc
import dataclasses
import importlib.util
import io
import json
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from etils import epath

from soar_jax.errors import require
from soar_jax.registry import Registry

Row = dict[str, Any]

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=token=)[^&\s'\"]+|(?<=key=)[^&\s'\"]+", re.IGNORECASE)
_MIN_SECRET_CHARACTERS = 6
_MAX_REASON_CHARACTERS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a tracker learns of a run when it is opened."""

    run_id: str  # the same at every start of the run
    name: str
    project: str
    offline: bool  # whether nothing may be sent to another machine
    folder: epath.Path  # the workdir
    config: Row  # nested
    environment: Row
    next_step: int  # first outer step that will be logged, unless the tracker knows better

    @property
    def flat_config(self) -> Row:
        """The config with one entry a key, `section.key`."""
        return dict(_flatten(self.config))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The end of a run."""

    step: int  # one after the last outer step
    results: dict[str, float]  # "TEST/POLICY/pass_at_K"
    policies: list[Row]  # a row for each test and policy
    questions: list[Row]  # those that the final students were trained on
    learning_curve: bytes  # PNG; empty: none

    def tables(self) -> dict[str, list[Row]]:
        """The tables that have rows."""
        return {name: rows for name, rows in {"results": self.policies, "questions": self.questions}.items() if rows}

    def figure(self) -> Any:
        """The learning curve as an image of Pillow; None if there is none."""
        if not self.learning_curve:
            return None
        from PIL import Image

        return Image.open(io.BytesIO(self.learning_curve))


class Tracker(abc.ABC):
    """An open run of a tracker."""

    packages: ClassVar[tuple[str, ...]] = ()  # that it imports
    extra: ClassVar[str] = ""  # of this package, which installs them
    last_step: int | None = None  # last outer step that it knows to hold, -1 for none; None if it cannot tell
    where: str = ""  # where a person finds the run, for a line of output

    @classmethod
    def check(cls, offline: bool, folder: epath.Path) -> None:
        """Checks what a run needs before it starts, its packages or also a key; without network, and writes nothing.

        Raises:
          SettingsError: something is missing that the user can mend.
        """
        missing = [package for package in cls.packages if not _is_installed(package)]
        require(
            not missing,
            f"tracking.trackers needs {', '.join(missing)}, which cannot be imported; "
            f"pip install 'soar-jax[{cls.extra}]'",
        )

    @abc.abstractmethod
    def __init__(self, run: TrackedRun) -> None:
        """Begins the tracker's run, or resumes the one with the same `run_id`."""

    @abc.abstractmethod
    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Logs an outer step. Called with rising steps, never twice with the same."""

    @abc.abstractmethod
    def log_report(self, report: Report) -> None:
        """Logs the results, once."""

    @abc.abstractmethod
    def close(self, finished: bool) -> None:
        """Sends what waits, and closes; `finished` says whether the results are logged."""


TRACKERS: Registry[type[Tracker]] = Registry("tracking.trackers")


def _is_installed(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a folder such as ./wandb has no origin


def redact(text: str) -> str:
    """Removes credentials: those in URLs, and values of environment variables that are named like one."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _MIN_SECRET_CHARACTERS:
            text = text.replace(value, "…")
    return _SECRET_IN_URL.sub("…", text)


def safe_reason(error: BaseException) -> str:
    """Names an error in one line of bounded length, without credentials."""
    return " ".join(redact(f"{type(error).__name__}: {error}").split())[:_MAX_REASON_CHARACTERS]


def to_json_lines(rows: list[Row]) -> str:
    """Serializes a table for trackers that have none."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def columns_and_data(rows: list[Row]) -> tuple[list[Any], list[list[Any]]]:
    """Splits a table into its columns and the values of each row."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[row.get(column) for column in columns] for row in rows]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Any:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
