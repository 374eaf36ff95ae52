"""What a run does, phase by phase, read off its config: which rollouts are drawn, which are trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from soar_jax.settings import embeds_questions

START, STEP, PROMOTION, END = "start", "outer step", "promotion", "end"  # parts of a run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers that only the run itself will tell, guessed."""

    hard_share: float  # of the candidates that the base model never solves; the others it solves in the first round
    num_promotions: int


@dataclasses.dataclass(frozen=True, kw_only=True)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Update:
    """Rows that policies are trained on; a row that is trained on twice counts twice."""

    rows: int
    max_tokens: int  # of a completion
    bucket_tokens: tuple[int, ...]  # that completions are padded to, besides their limit
    has_reference: bool  # whether a KL term needs the log-probabilities of another policy
    rematerialised: bool  # whether the layers are computed twice, to hold fewer activations


@dataclasses.dataclass(frozen=True, kw_only=True)
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
    yield Phase(name="finding the hard subset", part=START, repeats=1, draws=(first, later))
    if embeds_questions(config):
        yield Phase(name="centring embeddings", part=START, repeats=1, draws=(_written(config),))


def _outer_steps(config: Any) -> Iterator[Phase]:
    steps = config.num_outer_steps
    yield Phase(name="writing questions", part=STEP, repeats=steps, draws=(_written(config),))
    yield from _scoring(config) if config.teacher.reward == "grounded" else _voting(config)
    if config.teacher.train:
        update = _update(config.teacher, _written(config).rollouts)
        yield Phase(name="updating the teacher", part=STEP, repeats=steps, draws=(), updates=(update,))


def _scoring(config: Any) -> Iterator[Phase]:
    """The grounded reward: students train and are measured."""
    steps, outer = config.num_outer_steps, config.outer
    students = outer.num_datasets * outer.students_per_dataset
    answers = _student_answers(config, students, config.inner.num_steps)
    yield Phase(name="students' answers", part=STEP, repeats=steps, draws=(answers,))
    yield Phase(
        name="students' updates",
        part=STEP,
        repeats=steps,
        draws=(),
        updates=(_update(config.student, answers.rollouts),),
    )
    questions, samples = outer.num_reward_questions, outer.reward_samples
    measured = _asked(config, questions, samples=samples, policies=students)
    yield Phase(
        name="measuring improvement", part=STEP, repeats=steps, draws=(measured, _asked(config, questions, samples))
    )


def _voting(config: Any) -> Iterator[Phase]:
    """An intrinsic reward: the baseline student answers."""
    questions = _written(config).rollouts
    draw = Draw(
        policies=1,
        prompts=questions,
        samples=config.teacher.solver_samples,
        max_tokens=config.student.max_completion_tokens,
        prompts_per_call=questions,
    )
    yield Phase(name="answering questions", part=STEP, repeats=config.num_outer_steps, draws=(draw,))


def _promotions(config: Any, sizes: Sizes) -> Iterator[Phase]:
    if config.teacher.reward == "grounded" and config.num_outer_steps:
        draw = _asked(config, _split(config, sizes)[0], config.evaluation.validation_samples)
        repeats = min(sizes.num_promotions, config.num_outer_steps)
        yield Phase(name="validating a promotion", part=PROMOTION, repeats=repeats, draws=(draw,))


def _end(config: Any, sizes: Sizes) -> Iterator[Phase]:
    if config.curriculum.source == "teacher":
        written = _written(config)
        num_draws = -(-config.curriculum.num_questions // written.rollouts)
        yield Phase(name="writing the curriculum", part=END, repeats=num_draws, draws=(written,))
    promotes = config.teacher.reward == "grounded" and config.num_outer_steps > 0
    tests = tuple(_asked(config, size, config.evaluation.num_samples) for size in _test_sizes(config, sizes))
    yield Phase(
        name="testing base and promoted student" if promotes else "testing base",
        part=END,
        repeats=1 + promotes,
        draws=tests,
    )
    for name in config.final.students:
        yield from _final_student(config, sizes, name)
    if config.analysis.judge == "self_consistency":
        draw = _asked(config, config.analysis.judge_questions, config.analysis.judge_samples)
        yield Phase(name="judging questions", part=END, repeats=1, draws=(draw,))


def _final_student(config: Any, sizes: Sizes, name: str) -> Iterator[Phase]:
    """Training and tests of one kind of final students."""
    replicas = config.final.num_replicas
    steps = config.final.num_steps
    if name == "promoted":  # it has steps behind it
        steps = max(0, steps - sizes.num_promotions * config.inner.num_steps)
    episodes = steps // config.inner.num_steps
    answers = _student_answers(config, replicas, steps)
    validation = _split(config, sizes)[0]
    looks = [_asked(config, validation, samples=config.evaluation.validation_samples, policies=replicas)] * (
        episodes + 1
    )
    own = _self_play(config, episodes) if name == "self_play" else ()
    yield Phase(name=f"{name}: answers", part=END, repeats=1, draws=(*own, answers))
    yield Phase(
        name=f"{name}: updates", part=END, repeats=1, draws=(), updates=(_update(config.student, answers.rollouts),)
    )
    tests = [
        _asked(config, size, samples=config.evaluation.num_samples, policies=replicas)
        for size in _test_sizes(config, sizes)
    ]
    yield Phase(name=f"{name}: validation and tests", part=END, repeats=1, draws=(*looks, *tests))


def _self_play(config: Any, episodes: int) -> tuple[Draw, ...]:
    """Writing questions from seeds and answering them, once an episode."""
    replicas, count = config.final.num_replicas, config.self_play.questions_per_episode
    writing = Draw(
        policies=replicas,
        prompts=episodes * count,
        samples=1,
        max_tokens=config.teacher.max_completion_tokens,
        prompts_per_call=count,
    )
    samples, max_tokens = config.self_play.label_samples, config.student.max_completion_tokens
    return writing, Draw(
        policies=replicas, prompts=episodes * count, samples=samples, max_tokens=max_tokens, prompts_per_call=count
    )


def _written(config: Any) -> Draw:
    """The teacher's g * n questions."""
    questions, prompts = config.outer.num_datasets * config.outer.questions_per_dataset, num_teacher_prompts(config)
    return Draw(
        policies=1,
        prompts=prompts,
        samples=-(-questions // prompts),
        max_tokens=config.teacher.max_completion_tokens,
        prompts_per_call=prompts,
    )


def num_teacher_prompts(config: Any) -> int:
    """Prompts that the teacher's rollouts share: one a subject."""
    return len(config.prompts.subjects) or 1


def _student_answers(config: Any, students: int, steps: int) -> Draw:
    """All answers of student steps."""
    inner = config.inner
    per_call = inner.questions_per_step
    return Draw(
        policies=students,
        prompts=steps * per_call,
        samples=inner.group_size,
        max_tokens=config.student.max_completion_tokens,
        prompts_per_call=per_call,
    )


def _asked(config: Any, problems: int, samples: int, policies: int = 1) -> Draw:
    """Problems that each policy is asked by the evaluator."""
    return Draw(
        policies=policies,
        prompts=problems,
        samples=samples,
        max_tokens=config.student.max_completion_tokens,
        prompts_per_call=config.evaluation.problems_per_call,
    )


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
