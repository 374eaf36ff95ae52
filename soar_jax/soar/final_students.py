"""Kinds of final students: which policy is trained on which questions (paper, section 4).

A new kind is one function:

    @FINAL_STUDENTS.register("curriculum_twice", needs_curriculum=True)
    def curriculum_twice(setup, search, stages, hooks):
        return train(setup, search, "curriculum_twice", stages=stages + stages, hooks=hooks)
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from soar_jax.registry import FactRegistry
from soar_jax.soar import curricula
from soar_jax.soar.curricula import Stage
from soar_jax.soar.final_trainer import FinalStudents, Hooks, Start, train_through
from soar_jax.soar.self_play import train_by_self_play
from soar_jax.soar.setup import Setup
from soar_jax.soar.state import SearchResult

Stages = tuple[Stage, ...]  # synthetic stages of the method


class TrainFinal(Protocol):
    """Trains a kind of final student."""

    def __call__(self, setup: Setup, search: SearchResult, *, stages: Stages, hooks: Hooks) -> FinalStudents: ...


@dataclasses.dataclass(frozen=True)
class StudentKind:
    """A registered kind of final student, and facts about it."""

    train: TrainFinal
    _: dataclasses.KW_ONLY
    needs_curriculum: bool = False  # trains on the stages of `curriculum.source`
    needs_true_answers: bool = False  # of any question, as only the arithmetic world knows them
    starts_promoted: bool = False  # from the promoted student; else from the base model
    writes_questions: bool = False  # of its own, by the section `self_play`, in place of a curriculum


FINAL_STUDENTS: FactRegistry[StudentKind, TrainFinal] = FactRegistry("final.students", StudentKind)


def train(setup: Setup, search: SearchResult, name: str, stages: Stages, hooks: Hooks) -> FinalStudents:
    """Trains fresh students on stages and hard train problems."""
    full = curricula.with_hard_train(setup, stages, search.split)
    start = Start(name=name, weights=setup.base_weights)
    return train_through(setup, start, stages=full, split=search.split, hooks=hooks)


@FINAL_STUDENTS.register("curriculum", needs_curriculum=True)
def curriculum(setup: Setup, search: SearchResult, *, stages: Stages, hooks: Hooks) -> FinalStudents:
    """Fresh students on the method's questions (paper: PQ, Base-T, Intrinsic-T, Grounded-T)."""
    return train(setup, search, "curriculum", stages=stages, hooks=hooks)


@FINAL_STUDENTS.register("true_answers", needs_curriculum=True, needs_true_answers=True)
def true_answers(setup: Setup, search: SearchResult, *, stages: Stages, hooks: Hooks) -> FinalStudents:
    """Fresh students on the method's questions with their true answers."""
    stages = curricula.with_true_answers(setup, stages)
    return train(setup, search, "true_answers", stages=stages, hooks=hooks)


@FINAL_STUDENTS.register("random_answers", needs_curriculum=True)
def random_answers(setup: Setup, search: SearchResult, *, stages: Stages, hooks: Hooks) -> FinalStudents:
    """Fresh students on the method's questions with the digits of all answers drawn at random."""
    stages = curricula.with_random_answers(setup, stages)
    return train(setup, search, "random_answers", stages=stages, hooks=hooks)


@FINAL_STUDENTS.register("promoted", starts_promoted=True)
def promoted(setup: Setup, search: SearchResult, *, stages: Stages, hooks: Hooks) -> FinalStudents:
    """The promoted student, trained further on hard train problems; the paper's PS is tested without (B.6)."""
    steps = promoted_steps(setup, search)
    start = Start(name="promoted", weights=search.arrays.best, student_steps=steps)
    full = curricula.with_hard_train(setup, (), search.split, steps_before=steps)
    return train_through(setup, start, stages=full, split=search.split, hooks=hooks)


@FINAL_STUDENTS.register("hard_only")
def hard_only(setup: Setup, search: SearchResult, *, stages: Stages, hooks: Hooks) -> FinalStudents:
    """Fresh students on hard train problems only (paper: Hard-Only)."""
    return train(setup, search, "hard_only", stages=(), hooks=hooks)


@FINAL_STUDENTS.register("self_play", writes_questions=True)
def self_play(setup: Setup, search: SearchResult, *, stages: Stages, hooks: Hooks) -> FinalStudents:
    """Fresh students on questions that they write themselves (paper: SeRL)."""
    return train_by_self_play(setup, search.split, hooks)


def promoted_steps(setup: Setup, search: SearchResult) -> int:
    """Returns the number of student steps that the best promoted student was trained for, in all its episodes."""
    episodes = search.progress.promotions[: search.progress.best_promotion]
    return sum(promotion.num_steps or setup.config.inner.num_steps for promotion in episodes)
