"""Loads problems with true answers for a config section, and what their source knows about other questions."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from soar_jax.config.sections import FieldsSection, SourceSection
from soar_jax.errors import require
from soar_jax.integers import ceil_div
from soar_jax.problems import arithmetic, benchmarks
from soar_jax.rng import stream_generator
from soar_jax.types import Problem

ARITHMETIC = "arithmetic"  # the embedded model's world, which generates its problems
NO_SOURCE = "none"  # of `transfer.source`: no transfer problems


def load_problems(
    section: SourceSection, stream: str, count: int, levels: Sequence[int] | None = None
) -> list[Problem]:
    """Returns `count` distinct problems of a config section; of a benchmark at most `count`, shuffled by the seed.

    Args:
      section: `source`, `path`, `fields`, `topic`, `levels` and `seed`.
      stream: name of the random stream, and of the section in error messages.
      levels: replace those of the section; for a benchmark, empty means all.

    Raises:
      SettingsError: the source cannot be read, a level does not exist, or there are too few problems.
    """
    if section.source != ARITHMETIC:
        return _of_benchmark(section, stream, count=count, levels=tuple(section.levels if levels is None else levels))
    levels = tuple(section.levels if levels is None else levels)
    for level in set(levels):
        available = 1000 * len(arithmetic.OPERATIONS) ** level
        require(
            ceil_div(count, len(levels)) * levels.count(level) <= available // 2,
            f"{count} problems are asked of {stream}, but level {level} has only {available} questions; ask for fewer",
        )
    return arithmetic.generate_problems(
        stream_generator(section.seed, stream), levels, count=count, topic=section.topic
    )


def all_problems(section: SourceSection) -> tuple[Problem, ...]:
    """Returns all problems of a section's benchmark; none for the arithmetic world, which generates them."""
    return () if section.source == "arithmetic" else _benchmark(section).problems


def num_beyond(section: SourceSection, count: int) -> int:
    """Returns the number of a benchmark's problems that `load_problems` does not return for `count`."""
    levels = tuple(section.levels)
    return max(0, sum(not levels or problem.level in levels for problem in all_problems(section)) - count)


def left_out(section: SourceSection) -> dict[str, int]:
    """Returns the number of dropped rows of a section's benchmark by reason; empty for the arithmetic world."""
    return {} if section.source == "arithmetic" else _benchmark(section).left_out


def _of_benchmark(section: SourceSection, stream: str, count: int, levels: tuple[int, ...]) -> list[Problem]:
    everything = _benchmark(section).problems
    problems = [problem for problem in everything if not levels or problem.level in levels]
    require(
        bool(problems),
        f"{stream}: {section.path} has no problem of levels {levels}; it has levels "
        f"{', '.join(map(str, sorted({problem.level for problem in everything})))}",
    )
    order = stream_generator(section.seed, stream).permutation(len(problems))
    return [problems[index] for index in order[:count]]


def _benchmark(section: SourceSection) -> benchmarks.Benchmark:
    return _read(section.source, section.path, section.fields)


@functools.lru_cache(maxsize=4)
def _read(source: str, path: str, fields: FieldsSection) -> benchmarks.Benchmark:
    return benchmarks.load(source, path, fields)


def facts(source: str, question: str) -> arithmetic.QuestionFacts | None:
    """Returns the properties of a question; None unless the source is the arithmetic world."""
    return arithmetic.facts(question) if source == "arithmetic" else None
