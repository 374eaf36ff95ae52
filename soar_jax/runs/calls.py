"""What a run does: the one list of its calls of compiled programs, read off its config.

`planning/plan.py` sums their costs, `runs/programs.py` lowers the largest call of each role for the compile check,
and `tests/runs/test_calls.py` compares the list with the calls of small runs. The live display counts outer steps and
does not need it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator

from soar_jax.config.policy_sections import PolicySection
from soar_jax.config.run_config import RunConfig
from soar_jax.integers import ceil_div
from soar_jax.problems.sources import NO_SOURCE
from soar_jax.soar.final_students import FINAL_STUDENTS, StudentKind
from soar_jax.soar.final_trainer import last_step
from soar_jax.soar.teacher import MAX_DRAWS_OVER_NEED

START, STEP, PROMOTION, END = "start", "outer step", "promotion", "end"  # parts of a run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers that are known only after a run, guessed."""

    hard_share: float  # of the candidates that the base model never solves; it solves the others in the first round
    num_promotions: int  # spread evenly over the outer steps, the last one in the last
    accepted_share: float  # of the teacher's completions that are well formed


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
    that only sample set `updates` to 0; an update trains on `samples` rows of each prompt, and where `is_reference` the
    reference policy evaluates so many.
    """

    phase: RunPhase
    role: str  # what the program is called for, as the compile check names it
    program: str  # name of the jitted function
    policies: int = 1
    policies_per_call: int = 1
    # Whether the baseline student is the last policy of each call of a population. It counts once, though each shard of
    # the population axis evaluates it, at the same time.
    one_more: bool = False
    prompts: int = 1  # of each policy
    prompts_per_call: int = 1  # of each policy, at most
    samples: int = 0  # completions of each prompt; 0: the program neither samples nor trains
    max_tokens: int = 0  # of a completion
    temperature: float = 1.0
    top_p: float = 1.0
    updates: int = 0  # of each policy on the same rows
    is_reference: bool = False
    shared_prompts: int = 0  # that all rows of an update or a comparison share; 0: `samples` rows share each

    @property
    def num_calls(self) -> int:
        """Calls of the program in the run."""
        policies = ceil_div(self.policies, self.policies_per_call)
        prompts = ceil_div(self.prompts, self.prompts_per_call)
        return self.phase.repeats * policies * prompts * max(1, self.updates)

    @property
    def rollouts(self) -> int:
        """Completions sampled in one repeat of the phase."""
        return 0 if self.updates or self.is_reference else self._rows

    @property
    def rows_trained(self) -> int:
        """Rows trained on in one repeat of the phase; a row counts once for each update."""
        return self._rows * self.updates

    @property
    def rows_compared(self) -> int:
        """Rows that the reference policy evaluates in one repeat of the phase."""
        return self._rows if self.is_reference else 0

    @property
    def prompts_trained(self) -> int:
        """Prompts of the rows that are trained on, or that the reference evaluates, counted as those."""
        return self.policies * (self.shared_prompts or self.prompts) * max(1, self.updates)

    @property
    def _rows(self) -> int:
        return self.policies * self.prompts * self.samples


def run_calls(config: RunConfig, sizes: Sizes) -> tuple[Call, ...]:
    """Lists the calls of a method config's run, in order, with all outer steps that it allows.

    Grading, checkpoints and compilation call no program of the model. Embeddings of the final students' questions are
    left out: their number depends on what is written, and they cost next to nothing. A run that starts from a finished
    one is listed with a search for hard problems, which it need not make where both have the same problems.
    """
    parts = (_start(config, sizes), _outer_steps(config, sizes), _promotions(config, sizes), _end(config, sizes))
    return tuple(call for part in parts for call in part if call.num_calls)


def _start(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    search = config.hard_subset
    phase = _once("finding the hard subset", START)
    first = dataclasses.replace(
        _evaluate(config, phase, problems=search.num_candidates, samples=search.samples_per_round),
        temperature=search.temperature,
        top_p=search.top_p,
    )
    yield first
    later_rounds = search.num_samples // search.samples_per_round - 1
    yield dataclasses.replace(first, prompts=_num_hard(config, sizes) * later_rounds)
    if config.embeds_questions:
        phase = _once("centring embeddings", START)
        yield from _write(config, phase, num_draws=1)
        yield _embed(config, phase)
    if config.measures_students:
        yield _select(config, sizes, _once("measuring the base model", START))


def _outer_steps(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    resamples = config.teacher.malformed == "resample"
    num_draws = min(config.teacher.max_draws, math.ceil(1 / sizes.accepted_share)) if resamples else 1
    yield from _write(config, _each_step(config, "writing questions"), num_draws)
    yield from _improve(config, sizes) if config.trains_students else _vote(config)
    if config.teacher.train:
        yield from _teach(config, _each_step(config, "updating the teacher"))
    if config.embeds_questions:
        yield _embed(config, _each_step(config, "analysing questions"))


def _teach(config: RunConfig, phase: RunPhase) -> Iterator[Call]:
    """The teacher learns from its g * n pairs; a pair has a row for each turn."""
    teacher, rows = config.teacher, config.num_written * config.teacher.turns
    pairs = dataclasses.replace(
        _answer(teacher, phase, "updating the teacher", prompts=rows, samples=1),
        # Only a second turn's prompts differ from pair to pair.
        shared_prompts=config.prompts.num_teacher_prompts + config.num_written * (teacher.turns - 1),
    )
    if teacher.has_reference:
        program = "policy_reference_logprobs"
        yield dataclasses.replace(pairs, role="the teacher's reference", program=program, is_reference=True)
    yield dataclasses.replace(pairs, program="update_policy", updates=teacher.updates_per_batch)


def _improve(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    """The grounded reward: students are trained and evaluated, in waves, and compared with the baseline student."""
    students, wave = config.num_students, config.students_at_once
    lengths = _episode_lengths(config, sizes)
    for num_steps, repeats in lengths.items():
        length = f", {num_steps} steps" if len(lengths) > 1 else ""
        names = (f"students' answers{length}", f"students' updates{length}")
        answering, updating = (RunPhase(name=name, part=STEP, repeats=repeats) for name in names)
        yield from _train(config, num_steps, students, wave=wave, answering=answering, updating=updating)
    measuring, outer = _each_step(config, "measuring improvement"), config.outer
    measured = dataclasses.replace(
        _evaluate(config, measuring, problems=outer.num_reward_questions, samples=outer.reward_samples),
        temperature=outer.reward_temperature,
        top_p=1.0,
        one_more=True,
    )
    yield _by_students(measured, students + students // wave, wave + 1, role="measuring students")
    yield Call(
        phase=measuring,
        role="comparing weights",
        program="changed_shares",
        policies=students,
        policies_per_call=wave,
    )
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
    count, samples = config.num_written, config.teacher.solver_samples
    yield _answer(config.student, phase, phase.name, prompts=count, samples=samples)


def _promotions(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    if config.promotes:
        name = f"{'validating' if config.hard_subset.validation_share else 'measuring'} a promotion"
        phase = RunPhase(name=name, part=PROMOTION, repeats=_num_promotions(config, sizes))
        yield _select(config, sizes, phase)


def _select(config: RunConfig, sizes: Sizes, phase: RunPhase) -> Call:
    """A baseline student's accuracy: on hard validation, or without such a set greedily on hard train."""
    if config.hard_subset.validation_share:
        return _validate(config, sizes, phase)
    greedy = _evaluate(config, phase, problems=_split(config, sizes).train, samples=1)
    return dataclasses.replace(greedy, temperature=0.0, top_p=1.0)


def _end(config: RunConfig, sizes: Sizes) -> Iterator[Call]:
    if config.registered_curriculum.asks_teacher:
        count, at_once = config.curriculum.num_questions, config.num_written
        most = MAX_DRAWS_OVER_NEED * ceil_div(count, at_once)
        phase = _once("writing the curriculum", END)
        yield from _write(config, phase, min(most, math.ceil(count / (at_once * sizes.accepted_share))))
    tested = ["base"] + ["student"] * config.has_promoted + ["teacher"] * _tests_teacher(config)
    yield from _test(config, sizes, RunPhase(name=f"testing {', '.join(tested)}", part=END, repeats=len(tested)))
    for name in config.final.students:
        yield from _final_students(config, sizes, name)
    if config.analysis.judge == "self_consistency" and config.has_new_questions:
        phase, analysis = _once("judging questions", END), config.analysis
        count, samples = analysis.judge_questions, analysis.judge_samples
        judging = _answer(config.student, phase, phase.name, prompts=count, samples=samples)
        yield dataclasses.replace(judging, prompts_per_call=config.evaluation.problems_per_call)


def _final_students(config: RunConfig, sizes: Sizes, name: str) -> Iterator[Call]:
    """Trains the replicas of one kind of final students, validated and tested on the way."""
    kind, replicas, start = FINAL_STUDENTS[name], config.final.num_replicas, 0
    if kind.starts_promoted:  # with the steps behind it
        start = sum(config.episode_steps(promotions) for promotions in range(_num_promotions(config, sizes)))
    end = max(start, last_step(config))
    works = ("answers", "updates", "validation and tests")
    answering, updating, testing = (_once(f"{name}: {work}", END) for work in works)
    if kind.writes_questions:
        yield from _self_play(config, answering, ceil_div(end, config.inner.num_steps))
    yield from _train(config, end - start, replicas, wave=replicas, answering=answering, updating=updating)
    evaluations = [call for _ in range(_num_tests(config, start, end)) for call in _test(config, sizes, testing)]
    if config.hard_subset.validation_share:
        num_episodes = len(_ends_of_episodes(config, sizes, kind, start=start, end=end))
        evaluations += [_validate(config, sizes, testing)] * (num_episodes + 1)
    for evaluation in evaluations:
        yield _by_students(evaluation, replicas, replicas, role="testing students")


def _self_play(config: RunConfig, phase: RunPhase, episodes: int) -> Iterator[Call]:
    """Replicas write questions from seeds and answer them, once an episode."""
    replicas, section, count = config.final.num_replicas, config.self_play, config.self_play.questions_per_episode
    writing = _answer(config.teacher, phase, "students' questions", prompts=count, samples=1)
    voting = _answer(config.student, phase, "students' votes", prompts=count, samples=section.label_samples)
    for call in (writing, voting):
        yield dataclasses.replace(_by_students(call, replicas, replicas), prompts=episodes * count)


def _num_tests(config: RunConfig, start: int, end: int) -> int:
    """Tests of final students: every `final.test_every` steps, and at the end."""
    every = config.final.test_every
    on_the_way = end // every - start // every if every else 0
    is_last_among_them = on_the_way and end % every == 0
    return on_the_way + (not is_last_among_them)


def _ends_of_episodes(config: RunConfig, sizes: Sizes, kind: StudentKind, *, start: int, end: int) -> set[int]:
    """Student steps at which episodes of final students end: with a stage, for a test or for a validation."""
    each = config.inner.num_steps
    ends = {end, *_multiples(config.final.test_every, end), *_multiples(config.final.validate_every, end)}
    if kind.writes_questions:
        ends.update(_multiples(each, end))
    elif kind.needs_curriculum:
        num_stages = config.num_curriculum_stages(_num_promotions(config, sizes))
        if config.registered_schedule.by_stage:
            ends.update(each * (stage + 1) for stage in range(num_stages))
        elif config.registered_schedule.has_warm_start and num_stages:
            ends.add(config.curriculum.warm_start_steps)
    return {step for step in ends if start < step <= end}


def _multiples(step: int, end: int) -> range:
    return range(step, end + 1, step) if step else range(0)


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
    count, samples = inner.questions_per_step, inner.group_size
    step = _answer(config.student, answering, "students' answers", prompts=count, samples=samples)
    answers = dataclasses.replace(_by_students(step, students, wave), prompts=steps * count)
    yield answers
    trained = dataclasses.replace(answers, phase=updating, role="updating students", program="update_population")
    if config.student.has_reference:
        program = "population_reference_logprobs"
        yield dataclasses.replace(trained, role="students' reference", program=program, is_reference=True)
    yield dataclasses.replace(trained, updates=config.student.updates_per_batch)


def _write(config: RunConfig, phase: RunPhase, num_draws: int) -> Iterator[Call]:
    """The teacher writes g * n questions with their answers, `num_draws` times."""
    prompts, count = config.prompts.num_teacher_prompts, config.num_written
    asked = _answer(config.teacher, phase, "writing questions", prompts=prompts, samples=ceil_div(count, prompts))
    yield dataclasses.replace(asked, prompts=num_draws * prompts)
    if config.teacher.turns == 2:
        answered = _answer(config.teacher, phase, "writing answers", prompts=count, samples=1)
        yield dataclasses.replace(answered, prompts=num_draws * count)


def _embed(config: RunConfig, phase: RunPhase) -> Call:
    """Embeds the teacher's questions, padded to g * n."""
    count = config.num_written
    return Call(phase=phase, role="embedding questions", program="mean_pooled", prompts=count, prompts_per_call=count)


def _validate(config: RunConfig, sizes: Sizes, phase: RunPhase) -> Call:
    """One policy answers the hard validation problems."""
    problems, samples = _split(config, sizes).validation, config.evaluation.validation_samples
    return _evaluate(config, phase, problems=problems, samples=samples)


def _test(config: RunConfig, sizes: Sizes, phase: RunPhase) -> Iterator[Call]:
    """One policy answers the problems of the hard test, and of transfer where there is one."""
    num_transfer = 0 if config.transfer.source == NO_SOURCE else config.transfer.num_problems
    for problems in (_split(config, sizes).test, num_transfer):
        yield _evaluate(config, phase, problems=problems, samples=config.evaluation.num_samples)


def _evaluate(config: RunConfig, phase: RunPhase, *, problems: int, samples: int) -> Call:
    """The evaluator asks one policy; its calls are padded to `problems_per_call`."""
    evaluation = config.evaluation
    return dataclasses.replace(
        _answer(config.student, phase, "testing a policy", prompts=problems, samples=samples),
        prompts_per_call=evaluation.problems_per_call,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
    )


def _answer(policy: PolicySection, phase: RunPhase, role: str, *, prompts: int, samples: int) -> Call:
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


def _by_students(call: Call, students: int, wave: int, *, role: str = "") -> Call:
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


def _tests_teacher(config: RunConfig) -> bool:
    """Whether the trained teacher is tested, see `final_evaluation.policies_as_they_are`."""
    return config.teacher.train and (config.measures_students or bool(config.source_run))


def _num_promotions(config: RunConfig, sizes: Sizes) -> int:
    """Promotions of the run, or of the one that it starts from; at most one in an outer step."""
    if not config.has_promoted:
        return 0
    return sizes.num_promotions if config.source_run else min(sizes.num_promotions, config.num_outer_steps)


def _episode_lengths(config: RunConfig, sizes: Sizes) -> dict[int, int]:
    """Student steps of an episode of the inner loop, and the number of outer steps with such episodes."""
    total = _num_promotions(config, sizes)
    steps = range(config.num_outer_steps)
    return dict(Counter(config.episode_steps(step * total // config.num_outer_steps) for step in steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _SplitSizes:
    """Problems of each set, as `hard_subset.split_hard` makes them."""

    train: int
    validation: int
    test: int


def _split(config: RunConfig, sizes: Sizes) -> _SplitSizes:
    num_hard = _num_hard(config, sizes)
    half = num_hard // 2
    num_validation = round(half * config.hard_subset.validation_share)
    return _SplitSizes(train=half - num_validation, validation=num_validation, test=num_hard - half)
