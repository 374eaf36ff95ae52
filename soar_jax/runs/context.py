"""The context of a run in progress: its fixed parts, files and display."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import IO

from etils import epath

from soar_jax.errors import DisagreementError, InterruptedRunError, NotFiniteError
from soar_jax.parallel import processes
from soar_jax.runs.display import Display
from soar_jax.runs.run_files import RunFiles
from soar_jax.runs.source_run import SourceRun
from soar_jax.runs.tracking import Tracking
from soar_jax.soar.setup import Setup
from soar_jax.storage.run_checkpoints import Checkpoints
from soar_jax.telemetry.compilations import CompilationCounter, format_slowest
from soar_jax.telemetry.devices import Peaks
from soar_jax.types import Problem

# Ends that all processes of a run reach together.
_COLLECTIVE_ENDS = (type(None), InterruptedRunError, NotFiniteError, DisagreementError)


class RunClock:
    """Wall time of a run, summed over its starts."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.earlier_s = 0.0  # up to the saved step that this start resumes

    @property
    def wall_s(self) -> float:
        return self.earlier_s + self.start_s

    @property
    def start_s(self) -> float:
        """Wall time of this start."""
        return time.perf_counter() - self._started


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunContext:
    """The fixed parts of a run, and the objects that record its progress."""

    setup: Setup
    workdir: epath.Path
    candidates: list[Problem]  # of the hard subset
    transfer: tuple[Problem, ...]  # empty: none
    source: SourceRun | None  # the finished run that this one starts from
    files: RunFiles
    tracking: Tracking
    checkpoints: Checkpoints
    display: Display
    peaks: Peaks
    compilations: CompilationCounter
    clock: RunClock
    lock: IO[str]  # of the workdir

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Runs a phase: shows and times it, and meters device work under its name."""
        with self.display.phase(name), self.setup.meter.phase(name):
            yield

    def say_compiled(self) -> None:
        """Shows the slowest compilations since the last call."""
        slow = format_slowest(self.compilations.take_new())
        if slow:
            self.display.say(f"compiled: {slow}")

    def close(self) -> None:
        """Waits for checkpoints, closes trackers and display, and unlocks the workdir."""
        if not processes.is_distributed() or isinstance(sys.exception(), _COLLECTIVE_ENDS):
            self.checkpoints.close()  # has a barrier, which other processes never reach after an error of this one
        self.tracking.close()
        self.display.close()
        self.lock.close()
