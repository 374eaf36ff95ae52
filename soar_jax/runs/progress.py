"""Shows the progress of one long task: a bar in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from soar_jax.parallel import processes
from soar_jax.runs.interrupts import Interrupts

# If standard output is no terminal: seconds between lines, and the least width in characters, which folds no table.
LINE_EVERY_S = 15.0
MIN_WIDTH = 160


class Pace:
    """Estimates the time left from the units done since the first update, whose own time is much compilation."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None  # time and units done at the first update
        self._last = 0.0  # units done at the last update

    def time_left(self, now: float, done: float, left: float) -> str:
        """Says how long the units that are left will take, from the second update on; fewer units done begin anew."""
        if self._first is None or done < self._last:
            self._first = now, done
        self._last = done
        started, done_then = self._first
        if done <= done_then or not left:
            return ""
        return f"about {format_duration(left * (now - started) / (done - done_then))} left"


class WorkProgress:
    """Shows the work done, the time left and messages, and ends the work after a stop signal."""

    def __init__(self, what: str, interrupts: Interrupts) -> None:
        """`what` names the units; nothing is shown before the first `update`."""
        self._what, self._interrupts = what, interrupts
        # No markup, since names of data may contain brackets. Only the main process shows anything.
        self._console = Console(highlight=False, soft_wrap=True, markup=False, quiet=not processes.is_main())
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, MIN_WIDTH)
        self._pace = Pace()
        self._last_line = float("-inf")
        columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"))
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task(what, total=None, note="")

    def update(self, done: float, left: float, note: str) -> None:
        """Shows units done and left, and from the second update on the time left.

        Raises:
          InterruptedRunError: a stop signal has come.
        """
        now = time.perf_counter()
        note = ", ".join(filter(None, (note, self._pace.time_left(now, done, left))))
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, total=done + left, note=note)
            self._bar.start()
        elif now - self._last_line >= LINE_EVERY_S or not left:
            self._last_line = now
            self.say(f"{self._what}: {100 * done / (done + left):.0f}%, {note}")
        self._interrupts.raise_if_stopped()

    def say(self, message: str | Table) -> None:
        """Prints a message, above the bar if there is one."""
        self._console.print(message)

    def close(self) -> None:
        """Removes the bar."""
        if self._console.is_terminal:
            self._bar.stop()


def format_duration(seconds: float) -> str:
    """Formats seconds as `40 s`, `12 min` or `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
