"""Notes the programs that XLA compiles, so that a run can show that it compiles nothing twice."""

from __future__ import annotations

import jax

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


class CompilationCounter:
    """Programs compiled, and the seconds that took, since this object was made."""

    def __init__(self) -> None:
        """Starts counting."""
        self.programs: list[tuple[str, float]] = []  # name and seconds of each, in order
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    @property
    def count(self) -> int:
        """How many."""
        return len(self.programs)

    @property
    def seconds(self) -> float:
        """Of all together."""
        return sum(seconds for _, seconds in self.programs)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == _COMPILE_EVENT:
            self.programs.append((str(kwargs.get("fun_name", "")), duration_secs))


def longest_text(programs: list[tuple[str, float]], at_least_s: float = 1.0) -> str:
    """Programs that took long to compile, the longest first: "update_population 12 s, ..."."""
    longest = sorted((program for program in programs if program[1] >= at_least_s), key=lambda program: -program[1])
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest)
