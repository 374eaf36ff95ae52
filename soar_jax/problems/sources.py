"""Problems with true answers by a config section, and what their source knows of other questions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from soar_jax.problems import arithmetic, benchmarks
from soar_jax.rng import stream_generator
from soar_jax.settings import check_choice, require
from soar_jax.types import Problem

SOURCES = ("arithmetic", "jsonl", *benchmarks.FORMATS)


def load_problems(section: Any, stream: str, count: int, levels: Sequence[int] | None = None) -> list[Problem]:
    """`count` different problems of a config section; of a benchmark at most so many, in an order of the seed's.

    Args:
      section: `source`, `path`, `fields`, `topic`, `levels` and `seed`.
      stream: name of the draw, and of the section in error messages.
      levels: instead of the section's; for a benchmark, none are all.

    Raises:
      SettingsError: the source or topic is unknown, cannot be read, or a level does not exist.
    """
    check_choice(f"{stream}.source", section.source, SOURCES)
    if section.source != "arithmetic":
        return _of_benchmark(section, stream, count=count, levels=tuple(section.levels if levels is None else levels))
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
    return arithmetic.generate_problems(
        stream_generator(section.seed, stream), levels, count=count, topic=section.topic
    )


def all_problems(section: Any) -> tuple[Problem, ...]:
    """All problems of a section's benchmark; none of the arithmetic world, which has no end."""
    return () if section.source == "arithmetic" else _benchmark(section).problems


def num_beyond(section: Any, count: int) -> int:
    """Problems of a section's benchmark that `load_problems` leaves when it takes `count`."""
    levels = tuple(section.levels)
    return max(0, sum(not levels or problem.level in levels for problem in all_problems(section)) - count)


def left_out(section: Any) -> dict[str, int]:
    """Rows of a section's benchmark that cannot be graded, by reason; none of the arithmetic world."""
    return {} if section.source == "arithmetic" else _benchmark(section).left_out


def _of_benchmark(section: Any, stream: str, count: int, levels: tuple[int, ...]) -> list[Problem]:
    everything = _benchmark(section).problems
    problems = [problem for problem in everything if not levels or problem.level in levels]
    require(
        bool(problems),
        f"{stream}: {section.path} has no problem of levels {levels}; it has levels "
        f"{', '.join(map(str, sorted({problem.level for problem in everything})))}",
    )
    order = stream_generator(section.seed, stream).permutation(len(problems))
    return [problems[index] for index in order[:count]]


def _benchmark(section: Any) -> benchmarks.Benchmark:
    return _read(section.source, section.path, tuple(sorted(section.fields.items())))


@functools.lru_cache(maxsize=4)
def _read(source: str, path: str, fields: tuple[tuple[str, str], ...]) -> benchmarks.Benchmark:
    return benchmarks.load(source, path, dict(fields))


def facts(source: str, question: str) -> arithmetic.QuestionFacts | None:
    """What the problems' source knows about a question; None where it knows nothing."""
    return arithmetic.facts(question) if source == "arithmetic" else None
