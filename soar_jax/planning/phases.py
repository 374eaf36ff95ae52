"""What a run does, phase by phase, read off its config: which rollouts are drawn, which are trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from soar_jax.settings import embeds_questions

START, STEP, PROMOTION, END = "start", "outer step", "promotion", "end"  # parts of a run


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Numbers that only the run itself will tell, guessed."""

    hard_share: float  # of the candidates that the base model never solves; the others it solves in the first round
    num_promotions: int


@dataclasses.dataclass(frozen=True)
class Draw:
    """Rollouts: some policies each complete some prompts, some times each."""

    policies: int
    prompts: int  # of each policy
    samples: int  # of each prompt
    max_tokens: int  # of a completion
    prompts_per_call: int  # of each policy, that one call of the compiled program takes

    @property
    def rollouts(self) -> int:
        """Completions drawn."""
        return self.policies * self.prompts * self.samples


@dataclasses.dataclass(frozen=True)
class Update:
    """Rows that policies are trained on; a row that is trained on twice counts twice."""

    rows: int
    max_tokens: int  # of a completion
    bucket_tokens: tuple[int, ...]  # that completions are padded to, besides their limit
    has_reference: bool  # whether a KL term needs the log-probabilities of another policy
    rematerialised: bool  # whether the layers are computed twice, to hold fewer activations


@dataclasses.dataclass(frozen=True)
class Phase:
    """Work of one kind, done `repeats` times in a run."""

    name: str
    part: str
    repeats: int
    draws: tuple[Draw, ...]
    updates: tuple[Update, ...] = ()

    @property
    def rows(self) -> int:
        """Rollouts drawn and rows trained on, once."""
        return sum(draw.rollouts for draw in self.draws) + sum(update.rows for update in self.updates)


def run_phases(config: Any, sizes: Sizes) -> tuple[Phase, ...]:
    """The phases of a method config's run, in order, with all outer steps that it allows.

    Grading, checkpoints and compilation use no model and are not among them; embedding questions costs next to
    nothing.
    """
    parts = (_start(config, sizes), _outer_steps(config), _promotions(config, sizes), _end(config, sizes))
    return tuple(phase for part in parts for phase in part if phase.repeats and phase.rows)


def _start(config: Any, sizes: Sizes) -> Iterator[Phase]:
    search = config.hard_subset
    first = _asked(config, search.num_candidates, search.samples_per_round)
    later_rounds = search.num_samples // search.samples_per_round - 1
    later = _asked(config, _num_hard(config, sizes) * later_rounds, search.samples_per_round)
    yield Phase("finding the hard subset", START, 1, (first, later))
    if embeds_questions(config):
        yield Phase("centring embeddings", START, 1, (_written(config),))


def _outer_steps(config: Any) -> Iterator[Phase]:
    steps = config.num_outer_steps
    yield Phase("writing questions", STEP, steps, (_written(config),))
    yield from _scoring(config) if config.teacher.reward == "grounded" else _voting(config)
    if config.teacher.train:
        update = _update(config.teacher, _written(config).rollouts)
        yield Phase("updating the teacher", STEP, steps, (), (update,))


def _scoring(config: Any) -> Iterator[Phase]:
    """The grounded reward: students train and are measured."""
    steps, outer = config.num_outer_steps, config.outer
    students = outer.num_datasets * outer.students_per_dataset
    answers = _student_answers(config, students, config.inner.num_steps)
    yield Phase("students' answers", STEP, steps, (answers,))
    yield Phase("students' updates", STEP, steps, (), (_update(config.student, answers.rollouts),))
    questions, samples = outer.num_reward_questions, outer.reward_samples
    measured = _asked(config, questions, samples, students)
    yield Phase("measuring improvement", STEP, steps, (measured, _asked(config, questions, samples)))


def _voting(config: Any) -> Iterator[Phase]:
    """An intrinsic reward: the baseline student answers."""
    questions = _written(config).rollouts
    draw = Draw(1, questions, config.teacher.solver_samples, config.student.max_completion_tokens, questions)
    yield Phase("answering questions", STEP, config.num_outer_steps, (draw,))


def _promotions(config: Any, sizes: Sizes) -> Iterator[Phase]:
    if config.teacher.reward == "grounded" and config.num_outer_steps:
        draw = _asked(config, _split(config, sizes)[0], config.evaluation.validation_samples)
        repeats = min(sizes.num_promotions, config.num_outer_steps)
        yield Phase("validating a promotion", PROMOTION, repeats, (draw,))


def _end(config: Any, sizes: Sizes) -> Iterator[Phase]:
    if config.curriculum.source == "teacher":
        written = _written(config)
        num_draws = -(-config.curriculum.num_questions // written.rollouts)
        yield Phase("writing the curriculum", END, num_draws, (written,))
    promotes = config.teacher.reward == "grounded" and config.num_outer_steps > 0
    tests = tuple(_asked(config, size, config.evaluation.num_samples) for size in _test_sizes(config, sizes))
    yield Phase("testing base and promoted student" if promotes else "testing base", END, 1 + promotes, tests)
    for name in config.final.students:
        yield from _final_student(config, sizes, name)
    if config.analysis.judge == "self_consistency":
        draw = _asked(config, config.analysis.judge_questions, config.analysis.judge_samples)
        yield Phase("judging questions", END, 1, (draw,))


def _final_student(config: Any, sizes: Sizes, name: str) -> Iterator[Phase]:
    """Training and tests of one kind of final students."""
    replicas = config.final.num_replicas
    steps = config.final.num_steps
    if name == "promoted":  # it has steps behind it
        steps = max(0, steps - sizes.num_promotions * config.inner.num_steps)
    episodes = steps // config.inner.num_steps
    answers = _student_answers(config, replicas, steps)
    validation = _split(config, sizes)[0]
    looks = [_asked(config, validation, config.evaluation.validation_samples, replicas)] * (episodes + 1)
    own = _self_play(config, episodes) if name == "self_play" else ()
    yield Phase(f"{name}: answers", END, 1, (*own, answers))
    yield Phase(f"{name}: updates", END, 1, (), (_update(config.student, answers.rollouts),))
    tests = [_asked(config, size, config.evaluation.num_samples, replicas) for size in _test_sizes(config, sizes)]
    yield Phase(f"{name}: validation and tests", END, 1, (*looks, *tests))


def _self_play(config: Any, episodes: int) -> tuple[Draw, ...]:
    """Writing questions from seeds and answering them, once an episode."""
    replicas, count = config.final.num_replicas, config.self_play.questions_per_episode
    writing = Draw(replicas, episodes * count, 1, config.teacher.max_completion_tokens, count)
    samples, max_tokens = config.self_play.label_samples, config.student.max_completion_tokens
    return writing, Draw(replicas, episodes * count, samples, max_tokens, count)


def _written(config: Any) -> Draw:
    """The teacher's g * n questions."""
    questions, prompts = config.outer.num_datasets * config.outer.questions_per_dataset, num_teacher_prompts(config)
    return Draw(1, prompts, -(-questions // prompts), config.teacher.max_completion_tokens, prompts)


def num_teacher_prompts(config: Any) -> int:
    """Prompts that the teacher's rollouts share: one a subject."""
    return len(config.prompts.subjects) or 1


def _student_answers(config: Any, students: int, steps: int) -> Draw:
    """All answers of student steps."""
    inner = config.inner
    per_call = inner.questions_per_step
    return Draw(students, steps * per_call, inner.group_size, config.student.max_completion_tokens, per_call)


def _asked(config: Any, problems: int, samples: int, policies: int = 1) -> Draw:
    """Problems that each policy is asked by the examiner."""
    return Draw(policies, problems, samples, config.student.max_completion_tokens, config.evaluation.problems_per_call)


def _update(policy: Any, rows: int) -> Update:
    return Update(
        rows=rows * policy.updates_per_batch,
        max_tokens=policy.max_completion_tokens,
        bucket_tokens=tuple(policy.bucket_tokens),
        has_reference=policy.kl_coef > 0,
        rematerialised=policy.remat != "none",
    )


def _num_hard(config: Any, sizes: Sizes) -> int:
    return round(config.hard_subset.num_candidates * sizes.hard_share)


def _split(config: Any, sizes: Sizes) -> tuple[int, int]:
    """Problems of hard validation and hard test (as `hard_subset.split_hard` makes them)."""
    num_hard = _num_hard(config, sizes)
    half = num_hard // 2
    validation = round(half * config.hard_subset.validation_share)
    return validation, num_hard - half


def _test_sizes(config: Any, sizes: Sizes) -> tuple[int, int]:
    """Problems of the hard test and of transfer."""
    return _split(config, sizes)[1], config.transfer.num_problems
