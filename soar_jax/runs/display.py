"""Shows the progress of a run: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from soar_jax.parallel import processes
from soar_jax.runs.interrupts import Interrupts

_FEW_PARSABLE = 0.5  # a step's line shows the fraction of parsable questions if it is below this


class Display:
    """Shows phases, steps and messages, and times the phases."""

    def __init__(self, total_steps: int, interrupts: Interrupts, selection: str = "validation") -> None:
        """Starts the live panel if standard output is a terminal.

        Args:
          selection: name of the problems that choose the promoted student.
        """
        self._console = Console(highlight=False, markup=False, soft_wrap=True, quiet=not processes.is_main())
        self._interrupts = interrupts
        self._total = total_steps
        self._selection = selection
        self._phase = "starting"
        self._phase_started = time.perf_counter()
        self._last: dict[str, Any] = {}
        self._steps_done = 0
        self._step_seconds: list[float] = []
        self.seconds: dict[str, float] = {}  # per phase since the last `step_done`
        self._live: Live | None = None
        if self._console.is_terminal and processes.is_main():
            self._live = Live(get_renderable=self._panel, console=self._console, refresh_per_second=4)
            self._live.start()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Shows and times a phase; raises `InterruptedRunError` instead if a stop signal has come."""
        self._interrupts.raise_if_stopped()
        self._phase, self._phase_started = name, time.perf_counter()
        yield
        elapsed = time.perf_counter() - self._phase_started
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed

    def check(self) -> None:
        """Raises `InterruptedRunError` if a stop signal has come."""
        self._interrupts.raise_if_stopped()

    def resume(self, steps_done: int) -> None:
        """Sets the number of outer steps that earlier starts have completed."""
        self._steps_done = steps_done

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

    def close(self) -> None:
        """Removes the live panel."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _time_left(self) -> str:
        if not self._step_seconds:
            return "…"
        typical = sorted(self._step_seconds)[len(self._step_seconds) // 2]
        return f"at most {typical * (self._total - self._steps_done) / 60:.1f} min"

    def _panel(self) -> Group:
        last = self._last
        elapsed = time.perf_counter() - self._phase_started
        head = Text(f"outer step {min(self._steps_done + 1, self._total)}/{self._total}  ", style="bold")
        head.append(f"{self._phase} {elapsed:.0f} s", style="cyan")
        bar = Table.grid()  # a bare ProgressBar does not end its line
        bar.add_row(ProgressBar(total=max(1, self._total), completed=self._steps_done, width=60))
        rows: list[Any] = [head, bar]
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
