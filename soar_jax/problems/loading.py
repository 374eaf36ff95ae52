"""Candidate problems by the config's `problems` section."""

from __future__ import annotations

from typing import Any

from soar_jax.problems import arithmetic
from soar_jax.rng import stream_generator
from soar_jax.settings import require
from soar_jax.types import Problem

SOURCES = ("arithmetic",)


def load_candidates(problems: Any, count: int) -> list[Problem]:
    """`count` problems among which the hard ones are looked for.

    Args:
      problems: the config section: `source`, `seed`, `levels`.

    Raises:
      SettingsError: the source is unknown, or a level does not exist.
    """
    require(problems.source in SOURCES, f"problems.source is {problems.source!r}; choose one of {', '.join(SOURCES)}")
    levels = tuple(problems.levels)
    require(
        bool(levels) and all(1 <= level <= arithmetic.MAX_OPERATIONS for level in levels),
        f"problems.levels is {levels}; levels go from 1 to {arithmetic.MAX_OPERATIONS}",
    )
    for level in set(levels):
        available = 1000 * len(arithmetic.OPERATIONS) ** level
        require(
            -(-count // len(levels)) * levels.count(level) <= available // 2,
            f"hard_subset.num_candidates is {count}, but level {level} has only {available} questions; lower it",
        )
    return arithmetic.generate_problems(stream_generator(problems.seed, "candidates"), levels, count)


def facts(source: str, question: str) -> arithmetic.QuestionFacts | None:
    """What the problems' source knows about a question; None where it knows nothing."""
    return arithmetic.facts(question) if source == "arithmetic" else None
