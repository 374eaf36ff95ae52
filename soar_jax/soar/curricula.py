"""Questions of the final students: their sources and schedules.

A new source is one function:

    @CURRICULA.register("one_question")
    def one_question(setup, search):
        return [("one", (QuestionAnswer(question="1 + 1", answer="2"),))]
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

from soar_jax.config.run_config import RunConfig
from soar_jax.config.sections import CurriculumSection
from soar_jax.errors import require
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.problems import sources
from soar_jax.registry import Registry
from soar_jax.rng import stream_generator
from soar_jax.soar import curated
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import SearchResult
from soar_jax.soar.teacher import sample_questions
from soar_jax.types import Problem, QuestionAnswer

Questions = tuple[QuestionAnswer, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Questions, and the number of student steps on them."""

    name: str
    questions: Questions
    num_steps: int
    is_synthetic: bool  # False for hard train problems


Curriculum = Callable[[Setup, SearchResult], list[tuple[str, Questions]]]  # name and questions of each stage
# Maps synthetic stages, hard train problems, the total number of student steps and the config's section `curriculum`
# to the stages to train on.
Schedule = Callable[[tuple[Stage, ...], Questions, int, CurriculumSection], tuple[Stage, ...]]

CURRICULA: Registry[Curriculum] = Registry("curriculum.source")
SCHEDULES: Registry[Schedule] = Registry("curriculum.schedule")


@CURRICULA.register("promotions")
def promotion_questions(setup: Setup, search: SearchResult) -> list[tuple[str, Questions]]:
    """The promotion questions, one stage per promotion (paper: D_best, for PQ).

    A promotion of which `curriculum.keep` leaves no question has no stage.
    """
    return [
        (
            f"promotion {number}",
            tuple(QuestionAnswer(question=question, answer=answer) for question, answer in promotion.questions),
        )
        for number, promotion in enumerate(search.progress.promotions, start=1)
        if promotion.questions
    ]


@CURRICULA.register("teacher")
def teacher_questions(setup: Setup, search: SearchResult) -> list[tuple[str, Questions]]:
    """Questions of the teacher after the outer loop, in stages of n (paper: Base-T, Intrinsic-T, Grounded-T)."""
    written = sample_questions(setup, search.arrays.teacher.weights, setup.config.curriculum.num_questions)
    size = setup.config.outer.questions_per_dataset
    parts = [written[start : start + size] for start in range(0, len(written), size)]
    return [(f"dataset {number}", questions) for number, questions in enumerate(parts, start=1)]


@CURRICULA.register("curated")
def curated_questions(setup: Setup, search: SearchResult) -> list[tuple[str, Questions]]:
    """Problems with true answers that are not hard, one stage per level in "then_hard" (paper: curated)."""
    return [(name, as_questions(problems)) for name, problems in curated.load(setup, search.split)]


@CURRICULA.register("none")
def no_questions(setup: Setup, search: SearchResult) -> list[tuple[str, Questions]]:
    """No synthetic questions (paper: Hard-Only)."""
    return []


@SCHEDULES.register("warm_start")
def warm_start(
    stages: tuple[Stage, ...], hard: Questions, num_steps: int, settings: CurriculumSection
) -> tuple[Stage, ...]:
    """One pool of all synthetic questions first, then hard train problems alone (paper: "curriculum", MATH, B.6).

    Without any question, hard train problems from the start.
    """
    pool = _pool(stages)
    first = min(settings.warm_start_steps, num_steps) if pool else 0
    parts = (
        Stage(name="warm start", questions=pool, num_steps=first, is_synthetic=True),
        Stage(name="hard train", questions=hard, num_steps=num_steps - first, is_synthetic=False),
    )
    return tuple(stage for stage in parts if stage.num_steps)


@SCHEDULES.register("mixed")
def mixed(stages: tuple[Stage, ...], hard: Questions, num_steps: int, settings: CurriculumSection) -> tuple[Stage, ...]:
    """All synthetic questions and hard train problems in one pool (paper: HARP and OlympiadBench, B.6)."""
    pool = _pool(stages)
    stage = Stage(name="mixed", questions=(*pool, *hard), num_steps=num_steps, is_synthetic=bool(pool))
    return (stage,) if num_steps else ()


@SCHEDULES.register("then_hard")
def then_hard(
    stages: tuple[Stage, ...], hard: Questions, num_steps: int, settings: CurriculumSection
) -> tuple[Stage, ...]:
    """The stages one after the other, then hard train problems.

    For questions that build on each other; the paper has no such schedule.
    """
    left = num_steps - sum(stage.num_steps for stage in stages)
    last = Stage(name="hard train", questions=hard, num_steps=left, is_synthetic=False)
    return (*stages, last) if left else stages


def _pool(stages: tuple[Stage, ...]) -> Questions:
    return tuple(item for stage in stages for item in stage.questions)


def method_stages(setup: Setup, search: SearchResult) -> tuple[Stage, ...]:
    """Returns the synthetic stages of the source `curriculum.source`, each of `inner.num_steps` steps.

    In the schedule "then_hard", stages beyond `final.num_steps` are dropped, so that all methods take as many steps.
    """
    config, steps = setup.config, setup.config.inner.num_steps
    named = CURRICULA[config.curriculum.source](setup, search)
    if config.curriculum.schedule == "then_hard":
        named = named[: config.final.num_steps // steps]
    return tuple(Stage(name=name, questions=questions, num_steps=steps, is_synthetic=True) for name, questions in named)


def with_hard_train(
    setup: Setup, stages: tuple[Stage, ...], split: HardSplit, steps_before: int = 0
) -> tuple[Stage, ...]:
    """Schedules the stages and hard train problems by `curriculum.schedule`, up to `final.num_steps`.

    Args:
      steps_before: student steps that the students were trained for before.
    """
    total = max(0, setup.config.final.num_steps - steps_before)
    settings = setup.config.curriculum
    return SCHEDULES[settings.schedule](stages, as_questions(split.train), total, settings)


def warmup_steps(config: RunConfig, stages: tuple[Stage, ...]) -> int:
    """Steps in which the learning rate of final students rises; none in a warm start (paper, Table 3 and B.7).

    Students that begin with hard train problems have `final.warmup_steps` in that schedule too.
    """
    is_warm_start = config.curriculum.schedule == "warm_start" and any(stage.is_synthetic for stage in stages)
    return 0 if is_warm_start else config.final.warmup_steps


def as_questions(problems: Sequence[Problem]) -> Questions:
    """Converts problems to questions with their true answers."""
    return tuple(QuestionAnswer(question=problem.question, answer=problem.answer) for problem in problems)


def with_true_answers(setup: Setup, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Replaces all answers by the true ones, and drops questions that have none.

    Raises:
      SettingsError: the problems' source does not know the true answers of new questions.
    """

    def correct(item: QuestionAnswer) -> QuestionAnswer | None:
        facts = sources.facts(setup.config.problems.source, item.question)
        require(
            facts is not None,
            f"final.students names 'true_answers', but problems.source {setup.config.problems.source!r} cannot tell "
            "true answers of new questions; leave it out",
        )
        assert facts is not None
        answer = facts.true_answer
        return None if answer is None else QuestionAnswer(question=item.question, answer=answer)

    return _replace_questions(stages, correct)


def with_random_answers(setup: Setup, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Draws all digits of all answers at random, and drops questions whose answers have none."""
    rng = stream_generator(setup.config.seed, "random_answers")

    def scramble(item: QuestionAnswer) -> QuestionAnswer | None:
        answer = re.sub(r"[0-9]", lambda _: str(rng.integers(10)), item.answer)
        return QuestionAnswer(question=item.question, answer=answer) if re.search(r"[0-9]", answer) else None

    return _replace_questions(stages, scramble)


def _replace_questions(
    stages: tuple[Stage, ...], replace: Callable[[QuestionAnswer], QuestionAnswer | None]
) -> tuple[Stage, ...]:
    items = [tuple(filter(None, map(replace, stage.questions))) for stage in stages]
    return tuple(dataclasses.replace(stage, questions=kept) for stage, kept in zip(stages, items, strict=True))
