"""Command-line options of the suites."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Flag values of benchmarks/run.py; a suite reads those that its READS lists."""

    rounds: int
    cores: int
    peers: tuple[str, ...]
    models: tuple[str, ...]
    smollm2: str
    batches: tuple[int, ...]
    new_tokens: tuple[int, ...]
    cases: tuple[str, ...]
    tiny: bool
