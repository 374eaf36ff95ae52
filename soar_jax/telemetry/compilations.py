"""Records the programs that XLA compiles, so that a run can show that it compiles nothing twice."""

from __future__ import annotations

import jax

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


class CompilationCounter:
    """Programs compiled since this object was created, with their compile times."""

    def __init__(self) -> None:
        self.programs: list[tuple[str, float]] = []  # (name, seconds), in order
        self._num_taken = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    @property
    def count(self) -> int:
        return len(self.programs)

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.programs)

    def take_new(self) -> list[tuple[str, float]]:
        """The programs compiled since the last call."""
        new, self._num_taken = self.programs[self._num_taken :], len(self.programs)
        return new

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == _COMPILE_EVENT:
            self.programs.append((str(kwargs.get("fun_name", "")), duration_secs))


def format_slowest(programs: list[tuple[str, float]], at_least_s: float = 1.0) -> str:
    """Lists the slowest compilations, the slowest first: "update_population 12 s, ..."."""
    slowest = sorted((program for program in programs if program[1] >= at_least_s), key=lambda program: -program[1])
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in slowest)
