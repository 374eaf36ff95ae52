"""Problems with true answers by a config section, and what their source knows of other questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from soar_jax.problems import arithmetic
from soar_jax.rng import stream_generator
from soar_jax.settings import check_choice, require
from soar_jax.types import Problem

SOURCES = ("arithmetic",)


def load_problems(section: Any, stream: str, count: int, levels: Sequence[int] | None = None) -> list[Problem]:
    """`count` different problems of a config section.

    Args:
      section: `source`, `topic`, `levels` and `seed`.
      stream: name of the draw, and of the section in error messages.
      levels: instead of the section's.

    Raises:
      SettingsError: the source or topic is unknown, or a level does not exist.
    """
    check_choice(f"{stream}.source", section.source, SOURCES)
    check_choice(f"{stream}.topic", section.topic, tuple(arithmetic.WORKED_TOPICS))
    levels = tuple(section.levels if levels is None else levels)
    require(
        bool(levels) and all(1 <= level <= arithmetic.MAX_OPERATIONS for level in levels),
        f"{stream}.levels is {levels}; levels go from 1 to {arithmetic.MAX_OPERATIONS}",
    )
    for level in set(levels):
        available = 1000 * len(arithmetic.OPERATIONS) ** level
        require(
            -(-count // len(levels)) * levels.count(level) <= available // 2,
            f"{count} problems are asked of {stream}, but level {level} has only {available} questions; ask for fewer",
        )
    return arithmetic.generate_problems(stream_generator(section.seed, stream), levels, count, section.topic)


def facts(source: str, question: str) -> arithmetic.QuestionFacts | None:
    """What the problems' source knows about a question; None where it knows nothing."""
    return arithmetic.facts(question) if source == "arithmetic" else None
