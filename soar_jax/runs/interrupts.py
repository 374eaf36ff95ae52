"""Ctrl-C and SIGTERM end a run at the next phase; a second signal ends it at once."""

from __future__ import annotations

import signal
from types import FrameType

from soar_jax.parallel import processes


class InterruptedRunError(Exception):
    """The run was told to stop; the last completed outer step is saved."""


class Interrupts:
    """Remembers a stop signal until the run can act on it."""

    def __init__(self) -> None:
        """Takes over SIGINT and SIGTERM."""
        self._told = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._told:
            raise InterruptedRunError
        self._told = True

    def raise_if_told(self) -> None:
        """Raises `InterruptedRunError` when a stop signal has come, to this process or another of the run."""
        if processes.any_process(self._told):
            raise InterruptedRunError
