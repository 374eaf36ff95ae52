"""Curated questions: true problems that are not the hard ones (paper: the upper bound)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from soar_jax.config.run_config import RunConfig
from soar_jax.config.sections import SourceSection
from soar_jax.errors import require
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.problems import sources
from soar_jax.soar.setup import Setup
from soar_jax.types import Problem, normalize_question

_STREAM = "curated"  # of their order


def section(config: RunConfig) -> SourceSection:
    """Returns where curated problems come from: `curriculum.curated_source`, or the problems' own source.

    A part of them, `curriculum.num_curated`, is drawn anew by each seed (paper, Figure 16).
    """
    curriculum, found = config.curriculum, config.problems
    if curriculum.curated_source:
        found = dataclasses.replace(found, source=curriculum.curated_source, path=curriculum.curated_path)
    return dataclasses.replace(found, seed=config.seed) if curriculum.num_curated else found


def check(config: RunConfig) -> None:
    """Checks that there are curated problems of all levels, and enough, if the config uses any.

    Raises:
      SettingsError: they cannot be read, a level has no problem, or there are too few.
    """
    curriculum, source = config.curriculum, section(config)
    if curriculum.source != "curated":
        return
    for level in curriculum.levels:
        sources.load_problems(source, _STREAM, 1, (level,))
    found = sources.load_problems(source, _STREAM, curriculum.num_curated or 1, curriculum.levels)
    _require_enough(config, len(found))


def load(setup: Setup, split: HardSplit) -> list[tuple[str, list[Problem]]]:
    """Loads curated problems: a list for each level in the schedule "then_hard", and one list in others.

    Without `curriculum.num_curated` these are all, but at most as many as a student uses: in one stage of "then_hard",
    or in all its training.

    Raises:
      SettingsError: there are none, or too few.
    """
    config, curriculum = setup.config, setup.config.curriculum
    by_level, each = curriculum.schedule == "then_hard", config.inner.questions_per_step
    if by_level and not curriculum.num_curated:
        count = config.inner.num_steps * each
        return [(f"level {level}", _fresh(setup, split, (level,), count)) for level in curriculum.levels]
    found = _fresh(setup, split, curriculum.levels, curriculum.num_curated or config.final.num_steps * each)
    _require_enough(config, len(found), " that are not hard and fit a prompt")
    if not by_level:
        return [("curated", found)]
    stages: dict[str, list[Problem]] = {f"level {level}": [] for level in curriculum.levels}  # in this order
    for problem in found:
        stages[f"level {problem.level}"].append(problem)
    return [(name, problems) for name, problems in stages.items() if problems]


def _require_enough(config: RunConfig, found: int, kind: str = "") -> None:
    wanted, levels = config.curriculum.num_curated, config.curriculum.levels
    of_levels = f" of levels {', '.join(map(str, levels))}" if levels else ""
    require(
        found >= wanted,
        f"curriculum.num_curated is {wanted}, but {section(config).path} has only {found} problems{of_levels}{kind}; "
        "lower it, or name more curriculum.levels or another curriculum.curated_path",
    )


def _fresh(setup: Setup, split: HardSplit, levels: Sequence[int], count: int) -> list[Problem]:
    """Returns at most `count` problems of some levels that fit a prompt and are not in the hard subset."""
    source = section(setup.config)
    # At least as many as can be dropped: hard problems, and problems of a benchmark that do not fit a prompt.
    reserve = len(split.train) + len(split.validation) + len(split.test) + len(sources.all_problems(source))
    problems = sources.load_problems(source, _STREAM, count + reserve, levels)
    trained = (*split.train, *split.validation)
    hard = split.test.fingerprints | {mark for each in trained for mark in (each.id, normalize_question(each.question))}
    fresh = (each for each in problems if each.id not in hard and normalize_question(each.question) not in hard)
    found = [*itertools.islice((problem for problem in fresh if setup.sampler.fits(problem.question)), count)]
    of_levels = f" of level {', '.join(map(str, levels))}" if levels else ""
    require(
        bool(found),
        f"all problems{of_levels} in {source.path} are in the hard subset or too long to be asked; take the level out "
        "of curriculum.levels, or give a file that has others too",
    )
    return found
