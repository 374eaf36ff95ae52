"""Shows the progress of a run: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from soar_jax.parallel import processes
from soar_jax.runs.interrupts import Interrupts
from soar_jax.runs.progress import Pace, format_duration

LINE_EVERY_S = 30.0  # where standard output is no terminal: the longest time between lines, as far as there is news
_LEAST_SHOWN_S = 0.5  # of a phase in the times of a run
_FEW_PARSABLE = 0.5  # a step's line shows the fraction of parsable questions if it is below this


class Display:
    """Shows phases, steps and messages, and times the phases.

    Elsewhere than in a terminal, a phase or its progress is a line if there was none for `LINE_EVERY_S`. Nothing runs
    beside the run, so that a line waits for the devices' current call.
    """

    def __init__(
        self,
        total_steps: int,
        interrupts: Interrupts,
        selection: str = "validation",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Starts the live panel if standard output is a terminal.

        Args:
          selection: name of the problems that choose the promoted student.
          clock: returns seconds.
        """
        self._clock = clock
        self._console = Console(highlight=False, markup=False, soft_wrap=True, quiet=not processes.is_main())
        self._interrupts = interrupts
        self._total = total_steps
        self._selection = selection
        self._phase = "starting"
        self._progress: dict[str, str] = {}  # of phases that have begun some work and not ended it
        self._phase_started = self._last_line = clock()
        self._paces: dict[tuple[str, str], Pace] = {}  # by phase and unit
        self._last: dict[str, Any] = {}
        self._is_searching = False  # in the outer loop
        self._steps_done = 0
        self._step_seconds: list[float] = []
        self.seconds: dict[str, float] = {}  # per phase since the last `step_done`
        self._totals: dict[str, float] = {}  # per phase since the start
        self._live: Live | None = None
        if self._console.is_terminal and processes.is_main():
            self._live = Live(get_renderable=self._panel, console=self._console, refresh_per_second=4)
            self._live.start()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Shows and times a phase; raises `InterruptedRunError` instead if a stop signal has come."""
        self._interrupts.raise_if_stopped()
        self._phase, self._phase_started = name, self._clock()
        self._say_if_due()
        yield
        elapsed = self._clock() - self._phase_started
        for seconds in (self.seconds, self._totals):
            seconds[name] = seconds.get(name, 0.0) + elapsed

    def progress(self, unit: str, done: int, total: int, note: str) -> None:
        """Shows how far the current phase is, and from the second call on the time left.

        A phase may end before its work does, and continue when it is next entered.
        """
        pace = self._paces.setdefault((self._phase, unit), Pace())
        left = pace.time_left(self._clock(), done, total - done)
        self._progress[self._phase] = ", ".join(filter(None, (f"{done:,} of {total:,} {unit}", note, left)))
        self._say_if_due()
        if done >= total:
            del self._progress[self._phase]

    def check(self) -> None:
        """Raises `InterruptedRunError` if a stop signal has come."""
        self._interrupts.raise_if_stopped()

    def begin_search(self, steps_done: int) -> None:
        """Shows outer steps from here on, and resets `seconds`; earlier starts have completed `steps_done`."""
        self._is_searching, self._steps_done, self.seconds = True, steps_done, {}

    def end_search(self) -> None:
        """Shows no outer steps from here on."""
        self._is_searching = False

    def step_done(self, metrics: dict[str, Any], tokens_per_s: float) -> None:
        """Prints a line about a finished outer step, and resets `seconds`."""
        self._last = metrics | {"tokens_per_s": tokens_per_s}
        self._steps_done = metrics["outer_step"] + 1
        self._step_seconds.append(sum(self.seconds.values()))
        self.seconds = {}
        self.say(self._step_line(metrics, seconds=self._step_seconds[-1], tokens_per_s=tokens_per_s))

    def say(self, message: str | Table) -> None:
        """Prints a message, above the panel if there is one."""
        self._console.print(message)
        self._last_line = self._clock()

    def times(self, elapsed_s: float) -> str:
        """Names the phases since the start with their times, in order; the rest of `elapsed_s` is "other"."""
        times = self._totals | {"other": elapsed_s - sum(self._totals.values())}
        return ", ".join(f"{name} {format_duration(s)}" for name, s in times.items() if s >= _LEAST_SHOWN_S)

    def close(self) -> None:
        """Removes the live panel."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say_if_due(self) -> None:
        """Prints the phase and its progress where no panel shows them, and no line was printed for a while."""
        if self._console.is_terminal or self._clock() - self._last_line < LINE_EVERY_S:
            return
        step = f"step {self._steps_done + 1:>3}/{self._total}  " if self._is_searching else ""
        elapsed, progress = self._clock() - self._phase_started, self._progress.get(self._phase, "")
        since = f", {format_duration(elapsed)}" if elapsed >= 1 else ""
        self.say(f"{step}{self._phase}{since}{': ' if progress else ''}{progress}")

    def _time_left(self) -> str:
        if not self._step_seconds:
            return "…"
        typical = sorted(self._step_seconds)[len(self._step_seconds) // 2]
        return f"at most {typical * (self._total - self._steps_done) / 60:.1f} min"

    def _panel(self) -> Group:
        last = self._last
        elapsed = self._clock() - self._phase_started
        step = f"outer step {min(self._steps_done + 1, self._total)}/{self._total}  " if self._is_searching else ""
        head = Text(step, style="bold")
        head.append(f"{self._phase} {elapsed:.0f} s", style="cyan")
        bar = Table.grid()  # a bare ProgressBar does not end its line
        bar.add_row(ProgressBar(total=max(1, self._total), completed=self._steps_done, width=60))
        rows: list[Any] = [head]
        if progress := self._progress.get(self._phase):
            rows.append(Text(progress))
        if self._is_searching:
            rows.append(bar)
        if last:
            bars = " ".join(f"{reward:+.2f}" for reward in last["rewards"])
            rows.append(Text(f"datasets' rewards  {bars}"))
            rows.append(
                Text(
                    f"promotions {last['num_promotions']}   {self._selection} {last['validation_accuracy']:.2f}   "
                    f"{last['tokens_per_s']:,.0f} tokens/s   time left {self._time_left()}"
                )
            )
        return Group(*rows)

    def _step_line(self, metrics: dict[str, Any], seconds: float, tokens_per_s: float) -> str:
        line = (
            f"step {metrics['outer_step'] + 1:>3}/{self._total}  reward mean {metrics['mean_reward']:+.3f} "
            f"best {metrics['best_reward']:+.3f}  promotions {metrics['num_promotions']}  "
            f"{self._selection} {metrics['validation_accuracy']:.2f}  {tokens_per_s:,.0f} tokens/s  {seconds:.1f} s"
        )
        if metrics["valid_share"] < _FEW_PARSABLE:
            line += f"  only {metrics['valid_share']:.0%} of the questions can be parsed"
        return line + ("  ← promoted" if metrics["promoted"] else "")


def pass_table(title: str, rows: dict[str, dict[str, Any]], ks: Sequence[int]) -> Table:
    """Makes a table of pass@k in percent, one row per policy and one column per k."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for k in ks:
        table.add_column(f"pass@{k}", justify="right")
    for name, values in rows.items():
        table.add_row(name, *(f"{100 * values[f'pass@{k}']:.1f}" for k in ks))
    return table
