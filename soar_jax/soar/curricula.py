"""What the final fresh students are taught: stages of questions, by the method's source of them."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.problems import sources
from soar_jax.rng import stream_generator
from soar_jax.runs.build import Setup
from soar_jax.settings import require
from soar_jax.soar.state import Progress, RunArrays
from soar_jax.soar.teacher import write_curriculum
from soar_jax.types import Problem, QuestionAnswer

Questions = tuple[QuestionAnswer, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Questions, and the student steps that are spent on them."""

    name: str
    questions: Questions
    num_steps: int  # a multiple of inner.num_steps
    is_synthetic: bool  # not the hard problems themselves


def as_questions(problems: Sequence[Problem]) -> Questions:
    """Problems as a student is asked them, with their true answers."""
    return tuple(QuestionAnswer(question=problem.question, answer=problem.answer) for problem in problems)


def method_stages(setup: Setup, arrays: RunArrays, progress: Progress, split: HardSplit) -> tuple[Stage, ...]:
    """The synthetic stages of the run's method, by `curriculum.source`.

    Promotion questions come in the order of their promotions, the teacher's questions in
    datasets of n, curated ones a stage a level; each stage is `inner.num_steps` long. Stages that
    go beyond `final.num_steps` are left out, so that all methods take equally many steps; in the
    "mixed" schedule none does.
    """
    source = setup.config.curriculum.source
    if source == "promotions":
        datasets = [
            tuple(QuestionAnswer(question=question, answer=answer) for question, answer in promotion.questions)
            for promotion in progress.promotions
        ]
        named = [(f"promotion {number}", questions) for number, questions in enumerate(datasets, start=1)]
    elif source == "teacher":
        written = write_curriculum(setup, arrays.teacher.weights, setup.config.curriculum.num_questions)
        size = setup.config.outer.questions_per_dataset
        parts = [written[start : start + size] for start in range(0, len(written), size)]
        named = [(f"dataset {number}", questions) for number, questions in enumerate(parts, start=1)]
    elif source == "curated":
        named = [(f"level {level}", curated_questions(setup, split, level)) for level in setup.config.curriculum.levels]
    else:
        named = []
    steps = setup.config.inner.num_steps
    if setup.config.curriculum.schedule == "then_hard":
        named = named[: setup.config.final.num_steps // steps]
    return tuple(Stage(name=name, questions=questions, num_steps=steps, is_synthetic=True) for name, questions in named)


def curated_questions(setup: Setup, split: HardSplit, level: int) -> Questions:
    """True problems of one level, none of them in the hard subset (paper: upper bound).

    At most as many as a student is asked in a stage, or, in the "mixed" schedule, in all its training.

    Raises:
      SettingsError: there are none.
    """
    config = setup.config
    is_mixed = config.curriculum.schedule == "mixed"
    count = (config.final if is_mixed else config.inner).num_steps * config.inner.questions_per_step
    # At most so many are left out, besides those of a benchmark that cannot be asked.
    reserve = len(split.train) + len(split.validation) + len(split.test) + len(sources.all_problems(config.problems))
    problems = sources.load_problems(config.problems, "curated", count=count + reserve, levels=(level,))
    known = {problem.id for problem in (*split.train, *split.validation)}
    fresh = (problem for problem in problems if problem.id not in known and not split.test.holds(problem.question))
    found = [*itertools.islice((problem for problem in fresh if setup.sampler.fits(problem.question)), count)]
    require(
        bool(found),
        f"all problems of level {level} in {config.problems.path} are in the hard subset or too long to be asked; take "
        "the level out of curriculum.levels, or give a file that has others too",
    )
    return as_questions(found)


def check_curated(config: Any) -> None:
    """Refuses levels of curated problems that do not exist, where the config asks for curated problems.

    Raises:
      SettingsError: names the level.
    """
    if config.curriculum.source == "curated":
        for level in config.curriculum.levels:
            sources.load_problems(config.problems, "curated", count=1, levels=(level,))


def with_hard_train(
    setup: Setup, stages: tuple[Stage, ...], split: HardSplit, steps_before: int = 0
) -> tuple[Stage, ...]:
    """The stages, then hard train problems up to `final.num_steps`; or all in one pool, by `curriculum.schedule`.

    Args:
      steps_before: student steps that the students have behind them already.
    """
    total = max(0, setup.config.final.num_steps - steps_before)
    hard = as_questions(split.train)
    if setup.config.curriculum.schedule == "mixed":
        pool = tuple(item for stage in stages for item in stage.questions)
        return (
            (Stage(name="mixed", questions=(*pool, *hard), num_steps=total, is_synthetic=bool(pool)),) if total else ()
        )
    left = total - sum(stage.num_steps for stage in stages)
    return (*stages, Stage(name="hard train", questions=hard, num_steps=left, is_synthetic=False)) if left else stages


def with_true_answers(setup: Setup, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages with the true answer of every question; questions that have none are left out.

    Raises:
      SettingsError: the problems' source cannot tell.
    """

    def mended(item: QuestionAnswer) -> QuestionAnswer | None:
        facts = sources.facts(setup.config.problems.source, item.question)
        require(
            facts is not None,
            f"final.students names 'true_answers', but problems.source {setup.config.problems.source!r} cannot tell "
            "true answers of new questions; leave it out",
        )
        assert facts is not None
        return None if facts.true_answer is None else QuestionAnswer(question=item.question, answer=facts.true_answer)

    return _replaced(stages, mended)


def with_random_answers(setup: Setup, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages with every digit of every answer drawn anew; answers without a digit are left out."""
    rng = stream_generator(setup.config.seed, "random_answers")

    def scrambled(item: QuestionAnswer) -> QuestionAnswer | None:
        answer = re.sub(r"[0-9]", lambda _: str(rng.integers(10)), item.answer)
        return QuestionAnswer(question=item.question, answer=answer) if re.search(r"[0-9]", answer) else None

    return _replaced(stages, scrambled)


def _replaced(
    stages: tuple[Stage, ...], replace: Callable[[QuestionAnswer], QuestionAnswer | None]
) -> tuple[Stage, ...]:
    items = [tuple(filter(None, map(replace, stage.questions))) for stage in stages]
    return tuple(dataclasses.replace(stage, questions=kept) for stage, kept in zip(stages, items, strict=True))
