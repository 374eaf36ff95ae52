"""Questions of the final students: their sources and schedules.

A new source is one function:

    @CURRICULA.register("one_question")
    def one_question(setup, search):
        return [("one", (QuestionAnswer(question="1 + 1", answer="2"),))]
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence

from soar_jax.config.run_config import RunConfig
from soar_jax.config.sections import CurriculumSection, SourceSection
from soar_jax.errors import require
from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.integers import ceil_div
from soar_jax.problems import sources
from soar_jax.registry import FactRegistry
from soar_jax.rng import stream_generator
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import SearchResult
from soar_jax.soar.teacher import sample_questions
from soar_jax.types import Problem, QuestionAnswer, normalize_question

Questions = tuple[QuestionAnswer, ...]
_CURATED_STREAM = "curated"  # of the order of curated problems


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Questions, and the number of student steps on them."""

    name: str
    questions: Questions
    num_steps: int
    is_synthetic: bool  # False for hard train problems


MakeQuestions = Callable[[Setup, SearchResult], list[tuple[str, Questions]]]  # name and questions of each stage
# Maps synthetic stages, hard train problems, the total number of student steps and the config's section `curriculum`
# to the stages to train on.
MakeSchedule = Callable[[tuple[Stage, ...], Questions, int, CurriculumSection], tuple[Stage, ...]]


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """A registered source of questions, and facts about it."""

    questions: MakeQuestions
    _: dataclasses.KW_ONLY
    # Maps the config and a number of promotions to the number of stages.
    num_stages: Callable[[RunConfig, int], int] = lambda config, num_promotions: 1
    is_empty: bool = False  # there are never questions
    needs_promotions: bool = False  # the questions are those of promotions
    asks_teacher: bool = False  # the trained teacher writes `curriculum.num_questions`
    is_curated: bool = False  # the questions are problems of `curriculum.curated_source`


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A registered schedule, and facts about it."""

    stages: MakeSchedule
    _: dataclasses.KW_ONLY
    by_stage: bool = False  # trains on one synthetic stage after the other, each for `inner.num_steps`
    # Begins with `curriculum.warm_start_steps` on synthetic questions alone, without a warmup of the learning rate.
    has_warm_start: bool = False


CURRICULA: FactRegistry[Curriculum, MakeQuestions] = FactRegistry("curriculum.source", Curriculum)
SCHEDULES: FactRegistry[Schedule, MakeSchedule] = FactRegistry("curriculum.schedule", Schedule)


@CURRICULA.register("promotions", num_stages=lambda config, num_promotions: num_promotions, needs_promotions=True)
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


def _teacher_stages(config: RunConfig, num_promotions: int) -> int:
    return ceil_div(config.curriculum.num_questions, config.outer.questions_per_dataset)


@CURRICULA.register("teacher", num_stages=_teacher_stages, asks_teacher=True)
def teacher_questions(setup: Setup, search: SearchResult) -> list[tuple[str, Questions]]:
    """Questions of the teacher after the outer loop, in stages of n (paper: Base-T, Intrinsic-T, Grounded-T)."""
    written = sample_questions(setup, search.arrays.teacher.weights, setup.config.curriculum.num_questions)
    size = setup.config.outer.questions_per_dataset
    parts = [written[start : start + size] for start in range(0, len(written), size)]
    return [(f"dataset {number}", questions) for number, questions in enumerate(parts, start=1)]


def _curated_stages(config: RunConfig, num_promotions: int) -> int:
    return len(config.curriculum.levels) if SCHEDULES[config.curriculum.schedule].by_stage else 1


@CURRICULA.register("curated", num_stages=_curated_stages, is_curated=True)
def curated_questions(setup: Setup, search: SearchResult) -> list[tuple[str, Questions]]:
    """Problems with true answers that are not hard, one stage per level in a schedule by stage (paper: curated)."""
    return [(name, as_questions(problems)) for name, problems in load_curated(setup, search.split)]


@CURRICULA.register("none", num_stages=lambda config, num_promotions: 0, is_empty=True)
def no_questions(setup: Setup, search: SearchResult) -> list[tuple[str, Questions]]:
    """No synthetic questions (paper: Hard-Only)."""
    return []


@SCHEDULES.register("warm_start", has_warm_start=True)
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


@SCHEDULES.register("then_hard", by_stage=True)
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

    In a schedule by stage, stages beyond `final.num_steps` are dropped, so that all methods take as many steps.
    """
    config, steps = setup.config, setup.config.inner.num_steps
    named = CURRICULA[config.curriculum.source].questions(setup, search)
    if SCHEDULES[config.curriculum.schedule].by_stage:
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
    return SCHEDULES[settings.schedule].stages(stages, as_questions(split.train), total, settings)


def warmup_steps(config: RunConfig, stages: tuple[Stage, ...]) -> int:
    """Steps in which the learning rate of final students rises; none in a warm start (paper, Table 3 and B.7).

    Students that begin with hard train problems have `final.warmup_steps` in that schedule too.
    """
    is_warm_start = SCHEDULES[config.curriculum.schedule].has_warm_start and any(stage.is_synthetic for stage in stages)
    return 0 if is_warm_start else config.final.warmup_steps


def as_questions(problems: Sequence[Problem]) -> Questions:
    """Converts problems to questions with their true answers."""
    return tuple(QuestionAnswer(question=problem.question, answer=problem.answer) for problem in problems)


def with_true_answers(setup: Setup, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Replaces all answers by the true ones, and drops questions that have none."""

    def correct(item: QuestionAnswer) -> QuestionAnswer | None:
        facts = sources.facts(setup.config.problems.source, item.question)
        assert facts is not None  # a rule of the config: the source knows the true answers of new questions
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


def curated_section(config: RunConfig) -> SourceSection:
    """Returns where curated problems come from: `curriculum.curated_source`, or the problems' own source.

    A part of them, `curriculum.num_curated`, is drawn anew by each seed (paper, Figure 16).
    """
    curriculum, found = config.curriculum, config.problems
    if curriculum.curated_source:
        found = dataclasses.replace(found, source=curriculum.curated_source, path=curriculum.curated_path)
    return dataclasses.replace(found, seed=config.seed) if curriculum.num_curated else found


def check_curated(config: RunConfig) -> None:
    """Checks that there are curated problems of all levels, and enough, if the config uses any.

    Raises:
      SettingsError: they cannot be read, a level has no problem, or there are too few.
    """
    curriculum, source = config.curriculum, curated_section(config)
    if not CURRICULA[curriculum.source].is_curated:
        return
    for level in curriculum.levels:
        sources.load_problems(source, _CURATED_STREAM, 1, levels=(level,))
    found = sources.load_problems(source, _CURATED_STREAM, curriculum.num_curated or 1, levels=curriculum.levels)
    _require_enough(config, len(found))


def load_curated(setup: Setup, split: HardSplit) -> list[tuple[str, list[Problem]]]:
    """Loads curated problems: a list for each level in a schedule by stage, and one list in others.

    Without `curriculum.num_curated` these are all, but at most as many as a student uses: in one stage, or in all its
    training.

    Raises:
      SettingsError: there are none, or too few.
    """
    config, curriculum = setup.config, setup.config.curriculum
    by_level, each = SCHEDULES[curriculum.schedule].by_stage, config.inner.questions_per_step
    if by_level and not curriculum.num_curated:
        count = config.inner.num_steps * each
        return [(f"level {level}", _fresh_problems(setup, split, (level,), count=count)) for level in curriculum.levels]
    count = curriculum.num_curated or config.final.num_steps * each
    found = _fresh_problems(setup, split, curriculum.levels, count=count)
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
        f"curriculum.num_curated is {wanted}, but {curated_section(config).path} has only {found} "
        f"problems{of_levels}{kind}; lower it, or name more curriculum.levels or another curriculum.curated_path",
    )


def _fresh_problems(setup: Setup, split: HardSplit, levels: Sequence[int], *, count: int) -> list[Problem]:
    """Returns at most `count` problems of some levels that fit a prompt and are not in the hard subset."""
    source = curated_section(setup.config)
    # At least as many as can be dropped: hard problems, and problems of a benchmark that do not fit a prompt.
    reserve = len(split.train) + len(split.validation) + len(split.test) + len(sources.all_problems(source))
    problems = sources.load_problems(source, _CURATED_STREAM, count + reserve, levels=levels)
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
