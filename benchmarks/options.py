"""What the command line says, for all suites."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Values of the flags of benchmarks/run.py; a suite reads those that it names in its READS."""

    rounds: int
    cores: int
    peers: tuple[str, ...]
    models: tuple[str, ...]
    smollm2: str
    batches: tuple[int, ...]
    new_tokens: tuple[int, ...]
    tiny: bool
