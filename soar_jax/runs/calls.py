"""What a run does: the one list of its calls of compiled programs, read off its config.

`planning/plan.py` sums their costs, `planning/programs.py` lowers the largest call of each role for the compile check,
and `tests/runs/test_calls.py` compares the list with the calls of small runs. The live display counts outer steps and
does not need it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from soar_jax.config.run_config import RunConfig
from soar_jax.config.sections import PolicySection
from soar_jax.integers import ceil_div

START, STEP, PROMOTION, END = "start", "outer step", "promotion", "end"  # parts of a run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers that are known only after a run, guessed."""

    hard_share: float  # of the candidates that the base model never solves; it solves the others in the first round
    num_promotions: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunPhase:
    """Work that a run repeats."""

    name: str
    part: str  # of the run
    repeats: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """Calls of one compiled program in a phase of a run.

    One repeat of the phase makes all combinations of policies and prompts, split into calls of equal shape. Programs
    that only sample set `updates` to 0; an update trains on `samples` rows of each prompt.
    """

    phase: RunPhase
    role: str  # what the program is called for, as the compile check names it
    program: str  # name of the jitted function
    policies: int = 1
    policies_per_call: int = 1
    prompts: int = 1  # of each policy
    prompts_per_call: int = 1  # of each policy, at most
    samples: int = 0  # completions of each prompt; 0: the program neither samples nor trains
    max_tokens: int = 0  # of a completion
    temperature: float = 1.0
    top_p: float = 1.0
    updates: int = 0  # of each policy on the same rows

    @property
    def num_calls(self) -> int:
        """Calls of the program in the run."""
        policies = ceil_div(self.policies, self.policies_per_call)
        prompts = ceil_div(self.prompts, self.prompts_per_call)
        return self.phase.repeats * policies * prompts * max(1, self.updates)

    @property
    def rollouts(self) -> int:
        """Completions sampled in one repeat of the phase."""
        return 0 if self.updates else self.policies * self.prompts * self.samples

    @property
    def rows_trained(self) -> int:
        """Rows trained on in one repeat of the phase; a row counts once for each update."""
        return self.policies * self.prompts * self.samples * self.updates


def run_calls(config: RunConfig, sizes: Sizes) -> tuple[Call, ...]:
    """Lists the calls of a method config's run, in order, with all outer steps that it allows.

    Grading, checkpoints and compilation call no program of the model. Embeddings of the final students' questions are
    left out: their number depends on what is written, and they cost next to nothing.
    """
    parts = (_start(config, sizes), _outer_steps(config), _promotions(config, sizes), _end(config, sizes))
    return tuple(call for part in parts for call in part if call.num_calls)


def _start(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    search = config.hard_subset
    first = dataclasses.replace(
        _evaluate(config, _once("finding the hard subset", START), search.num_candidates, search.samples_per_round),
        temperature=search.temperature,
        top_p=search.top_p,
    )
    yield first
    later_rounds = search.num_samples // search.samples_per_round - 1
    yield dataclasses.replace(first, prompts=_num_hard(config, sizes) * later_rounds)
    if config.embeds_questions:
        phase = _once("centring embeddings", START)
        yield _write(config, phase)
        yield _embed(config, phase)


def _outer_steps(config: RunConfig) -> Iterator[Call]:
    written = _write(config, _each_step(config, "writing questions"))
    yield written
    yield from _improve(config) if config.trains_students else _vote(config)
    if config.teacher.train:
        # The run drops rows beyond g * n, of which there are some where the teacher's prompts do not divide g * n.
        phase, updates = _each_step(config, "updating the teacher"), config.teacher.updates_per_batch
        yield dataclasses.replace(
            written, phase=phase, role="updating the teacher", program="update_policy", updates=updates
        )
    if config.embeds_questions:
        yield _embed(config, _each_step(config, "analysing questions"))


def _improve(config: RunConfig) -> Iterator[Call]:
    """The grounded reward: students are trained and evaluated, in waves, and compared with the baseline student."""
    students, wave = config.num_students, config.students_at_once
    names = ("students' answers", "students' updates", "measuring improvement")
    answering, updating, measuring = (_each_step(config, name) for name in names)
    yield from _train(config, config.inner.num_steps, students, wave=wave, answering=answering, updating=updating)
    outer = config.outer
    baseline = dataclasses.replace(
        _evaluate(config, measuring, outer.num_reward_questions, outer.reward_samples),
        temperature=outer.reward_temperature,
        top_p=1.0,
    )
    yield _by_students(baseline, students, wave, role="measuring students")
    yield baseline
    yield Call(
        phase=measuring,
        role="taking the best student",
        program="take_student",
        policies=students,
        policies_per_call=wave,
    )


def _vote(config: RunConfig) -> Iterator[Call]:
    """An intrinsic reward: the baseline student answers."""
    phase = _each_step(config, "answering questions")
    questions = _write(config, phase).rollouts  # with those beyond g * n, as in the teacher's update
    yield _answer(config.student, phase, phase.name, questions, config.teacher.solver_samples)


def _promotions(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    if config.promotes:
        repeats = min(sizes.num_promotions, config.num_outer_steps)
        phase = RunPhase(name="validating a promotion", part=PROMOTION, repeats=repeats)
        yield _validate(config, sizes, phase)


def _end(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    if config.curriculum.source == "teacher":
        repeats = ceil_div(config.curriculum.num_questions, config.num_written)  # more where few can be parsed
        yield _write(config, RunPhase(name="writing the curriculum", part=END, repeats=repeats))
    name = "testing base and promoted student" if config.promotes else "testing base"
    yield from _test(config, sizes, RunPhase(name=name, part=END, repeats=1 + config.promotes))
    for name in config.final.students:
        yield from _final_students(config, sizes, name)
    if config.analysis.judge == "self_consistency":
        phase, analysis = _once("judging questions", END), config.analysis
        judging = _answer(config.student, phase, phase.name, analysis.judge_questions, analysis.judge_samples)
        yield dataclasses.replace(judging, prompts_per_call=config.evaluation.problems_per_call)


def _final_students(config: RunConfig, sizes: Sizes, name: str) -> Iterator[Call]:
    """Trains and tests the replicas of one kind of final students."""
    replicas, steps = config.final.num_replicas, config.final.num_steps
    if name == "promoted":  # starts with the steps behind it
        steps = max(0, steps - sizes.num_promotions * config.inner.num_steps)
    episodes = steps // config.inner.num_steps
    works = ("answers", "updates", "validation and tests")
    answering, updating, testing = (_once(f"{name}: {work}", END) for work in works)
    if name == "self_play":
        yield from _self_play(config, answering, episodes)
    yield from _train(config, steps, replicas, wave=replicas, answering=answering, updating=updating)
    evaluations = (*[_validate(config, sizes, testing)] * (episodes + 1), *_test(config, sizes, testing))
    for evaluation in evaluations:
        yield _by_students(evaluation, replicas, replicas, role="testing students")


def _self_play(config: RunConfig, phase: RunPhase, episodes: int) -> Iterator[Call]:
    """Replicas write questions from seeds and answer them, once an episode."""
    replicas, section, count = config.final.num_replicas, config.self_play, config.self_play.questions_per_episode
    writing = _answer(config.teacher, phase, "students' questions", count, samples=1)
    voting = _answer(config.student, phase, "students' votes", count, samples=section.label_samples)
    for call in (writing, voting):
        yield dataclasses.replace(_by_students(call, replicas, replicas), prompts=episodes * count)


def _train(
    config: RunConfig, steps: int, students: int, *, wave: int, answering: RunPhase, updating: RunPhase
) -> Iterator[Call]:
    """Copies a policy to students, `wave` of them at a time, and trains each for `steps` student steps."""
    inner = config.inner
    yield Call(
        phase=answering,
        role="copying the baseline student",
        program="init_population",
        policies=students,
        policies_per_call=wave,
    )
    step = _answer(config.student, answering, "students' answers", inner.questions_per_step, inner.group_size)
    answers = dataclasses.replace(_by_students(step, students, wave), prompts=steps * inner.questions_per_step)
    yield answers
    updates = config.student.updates_per_batch
    yield dataclasses.replace(
        answers, phase=updating, role="updating students", program="update_population", updates=updates
    )


def _write(config: RunConfig, phase: RunPhase) -> Call:
    """The teacher writes its g * n questions."""
    prompts = config.prompts.num_teacher_prompts
    return _answer(config.teacher, phase, "writing questions", prompts, ceil_div(config.num_written, prompts))


def _embed(config: RunConfig, phase: RunPhase) -> Call:
    """Embeds the teacher's questions, padded to g * n."""
    count = config.num_written
    return Call(phase=phase, role="embedding questions", program="mean_pooled", prompts=count, prompts_per_call=count)


def _validate(config: RunConfig, sizes: Sizes, phase: RunPhase) -> Call:
    """One policy answers the hard validation problems."""
    return _evaluate(config, phase, _split(config, sizes)[0], config.evaluation.validation_samples)


def _test(config: RunConfig, sizes: Sizes, phase: RunPhase) -> Iterator[Call]:
    """One policy answers the problems of the hard test and of transfer."""
    for problems in (_split(config, sizes)[1], config.transfer.num_problems):
        yield _evaluate(config, phase, problems, config.evaluation.num_samples)


def _evaluate(config: RunConfig, phase: RunPhase, problems: int, samples: int) -> Call:
    """The evaluator asks one policy; its calls are padded to `problems_per_call`."""
    evaluation = config.evaluation
    return dataclasses.replace(
        _answer(config.student, phase, "testing a policy", problems, samples),
        prompts_per_call=evaluation.problems_per_call,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
    )


def _answer(policy: PolicySection, phase: RunPhase, role: str, prompts: int, samples: int) -> Call:
    """One policy answers prompts in one call, at its training temperature."""
    return Call(
        phase=phase,
        role=role,
        program="sample_policy",
        prompts=prompts,
        prompts_per_call=prompts,
        samples=samples,
        max_tokens=policy.max_completion_tokens,
        temperature=policy.temperature,
    )


def _by_students(call: Call, students: int, wave: int, role: str = "") -> Call:
    """Each student makes a policy's call, `wave` of them at a time."""
    return dataclasses.replace(
        call, role=role or call.role, program="sample_population", policies=students, policies_per_call=wave
    )


def _once(name: str, part: str) -> RunPhase:
    return RunPhase(name=name, part=part, repeats=1)


def _each_step(config: RunConfig, name: str) -> RunPhase:
    return RunPhase(name=name, part=STEP, repeats=config.num_outer_steps)


def _num_hard(config: RunConfig, sizes: Sizes) -> int:
    return round(config.hard_subset.num_candidates * sizes.hard_share)


def _split(config: RunConfig, sizes: Sizes) -> tuple[int, int]:
    """Problems of hard validation and hard test (as `hard_subset.split_hard` makes them)."""
    num_hard = _num_hard(config, sizes)
    half = num_hard // 2
    return round(half * config.hard_subset.validation_share), num_hard - half
