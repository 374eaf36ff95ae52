"""Ends a run at the next phase after Ctrl-C or SIGTERM; a second signal ends it at once."""

from __future__ import annotations

import signal
from types import FrameType

from soar_jax.errors import InterruptedRunError
from soar_jax.parallel import processes


class Interrupts:
    """Handles stop signals, and raises when the run asks."""

    def __init__(self) -> None:
        """Installs handlers of SIGINT and SIGTERM."""
        self._stopped = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stopped:
            raise InterruptedRunError
        self._stopped = True

    def raise_if_stopped(self) -> None:
        """Raises `InterruptedRunError` if any process of the run has received a stop signal."""
        if processes.any_process(self._stopped):
            raise InterruptedRunError
