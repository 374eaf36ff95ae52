"""Rules that tie config keys to each other: one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import ml_collections

from soar_jax.config.run_config import RunConfig
from soar_jax.config.sections import MAX_ARITHMETIC_LEVEL, FieldsSection
from soar_jax.errors import require
from soar_jax.registry import registry

ARITHMETIC, JSONL = "arithmetic", "jsonl"  # sources of problems that need other keys
UNSET = "?"  # of `source_run` in methods that need one
_MESH_AXES = ("population", "data", "fsdp", "tensor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossRule:
    """A condition on several keys, and what to say where it does not hold."""

    holds: Callable[[RunConfig], bool]
    message: Callable[[RunConfig], str]


def check(config: RunConfig) -> None:
    """Checks all rules that tie keys of a run to each other.

    Raises:
      SettingsError: with the keys, their values and what is allowed.
    """
    for rule in RULES:
        require(rule.holds(config), rule.message(config))


def check_whole_run(config: RunConfig) -> None:
    """Checks rules of whole runs, which train and test students; other programs train nobody.

    Raises:
      SettingsError: with the keys, their values and what is allowed.
    """
    for rule in RULES_OF_WHOLE_RUNS:
        require(rule.holds(config), rule.message(config))


def _level_rules(name: str, source: Callable[[RunConfig], str]) -> tuple[CrossRule, ...]:
    """Rules of the levels of a section; `source` is that of their problems."""

    def levels(config: RunConfig) -> tuple[int, ...]:
        found: tuple[int, ...] = getattr(config, name).levels
        return found

    return (
        CrossRule(
            holds=lambda c: source(c) != ARITHMETIC or len(levels(c)) > 0,
            message=lambda c: f"{name}.levels is (); give at least one whole number, each 1 or more",
        ),
        CrossRule(
            holds=lambda c: source(c) != ARITHMETIC or max(levels(c)) <= MAX_ARITHMETIC_LEVEL,
            message=lambda c: f"{name}.levels is {levels(c)}; levels go from 1 to {MAX_ARITHMETIC_LEVEL}",
        ),
    )


def _updates_rule(name: str) -> CrossRule:
    """Rule of the updates of a policy on a batch."""
    return CrossRule(
        holds=lambda c: getattr(c, name).updates_per_batch == 1 or getattr(c, name).clip_ratio > 0,
        message=lambda c: (
            f"{name}.updates_per_batch is {getattr(c, name).updates_per_batch} with clip_ratio=0: from the second "
            "update on a batch is off-policy, so set clip_ratio, e.g. 0.2"
        ),
    )


def _curated_source(config: RunConfig) -> str:
    return config.curriculum.curated_source or config.problems.source


def _fields_are_read(config: RunConfig) -> bool:
    """Whether `problems.fields` says how rows are read."""
    return config.problems.source == JSONL or (
        config.registered_curriculum.is_curated and config.curriculum.curated_source == JSONL
    )


def _unnamed_field(fields: FieldsSection) -> str:
    """The first necessary field without a name; empty if all have one."""
    return next((key for key in ("question", "answer") if not getattr(fields, key)), "")


def _mesh_sizes(config: RunConfig) -> list[int]:
    return [getattr(config.mesh, axis) for axis in _MESH_AXES]


def _mesh_text(config: RunConfig) -> str:
    return ", ".join(f"mesh.{axis}={size}" for axis, size in zip(_MESH_AXES, _mesh_sizes(config), strict=True))


def _needs_source_run(config: RunConfig) -> bool:
    """Whether the method itself leaves `source_run` for the user to set."""
    methods = registry("method")
    if config.method not in methods:
        return False
    values = ml_collections.ConfigDict(config.to_dict() | {"source_run": ""})
    methods[config.method](values)
    return bool(values.source_run == UNSET)


def _without_curriculum(config: RunConfig) -> tuple[str, ...]:
    """Kinds of final students that need a curriculum, where there is none."""
    return config.final_students_that("needs_curriculum") if config.registered_curriculum.is_empty else ()


def _kinds_that(config: RunConfig, fact: str) -> str:
    return ", ".join(map(repr, config.final_students_that(fact)))


def _most_hard_train(config: RunConfig) -> int:
    """Hard train problems at most."""
    half = config.hard_subset.num_candidates // 2
    return half - round(half * config.hard_subset.validation_share)


def _transfer_place(config: RunConfig) -> str:
    return "topic" if config.problems.source == ARITHMETIC else "path"


def _divides(part: int, whole: int) -> bool:
    return part > 0 and whole % part == 0


def _fit_waves(config: RunConfig) -> bool:
    size = config.students_at_once
    return size > 0 and config.num_students % size == 0 and size % config.outer.students_per_dataset == 0


RULES = (
    *_level_rules("problems", lambda c: c.problems.source),
    *_level_rules("transfer", lambda c: c.transfer.source),
    *_level_rules("curriculum", _curated_source),
    CrossRule(
        holds=lambda c: c.hard_subset.num_samples % c.hard_subset.samples_per_round == 0,
        message=lambda c: (
            f"hard_subset.num_samples is {c.hard_subset.num_samples}; it must be a multiple of "
            f"hard_subset.samples_per_round = {c.hard_subset.samples_per_round}"
        ),
    ),
    CrossRule(
        holds=lambda c: c.outer.num_datasets >= 2 or not c.teacher.train,
        message=lambda c: "outer.num_datasets is 1; RLOO compares a dataset with the others, so use at least 2",
    ),
    CrossRule(
        holds=lambda c: c.outer.reward_temperature > 0 or c.outer.reward_samples == 1,
        message=lambda c: (
            f"outer.reward_samples is {c.outer.reward_samples} with outer.reward_temperature=0: greedy samples are "
            "all alike, so use 1"
        ),
    ),
    CrossRule(
        holds=lambda c: c.evaluation.num_samples >= max(c.evaluation.pass_at),
        message=lambda c: (
            f"evaluation.num_samples is {c.evaluation.num_samples}; pass@{max(c.evaluation.pass_at)} needs at least "
            f"{max(c.evaluation.pass_at)}"
        ),
    ),
    CrossRule(
        holds=lambda c: c.evaluation.temperature > 0 or c.evaluation.num_samples == 1,
        message=lambda c: (
            f"evaluation.num_samples is {c.evaluation.num_samples} with evaluation.temperature=0: greedy samples are "
            "all alike, so use 1, and evaluation.pass_at=(1,)"
        ),
    ),
    CrossRule(
        holds=lambda c: c.hard_subset.temperature > 0 or c.hard_subset.num_samples == 1,
        message=lambda c: (
            f"hard_subset.num_samples is {c.hard_subset.num_samples} with hard_subset.temperature=0: greedy samples "
            "are all alike, so a problem would be hard by a single try; use more than 0"
        ),
    ),
    CrossRule(
        holds=lambda c: "{subject}" not in c.prompts.teacher or len(c.prompts.subjects) > 0,
        message=lambda c: "prompts.teacher holds {subject}, but prompts.subjects is empty",
    ),
    CrossRule(
        holds=_fit_waves,
        message=lambda c: (
            f"inner.students_at_once is {c.inner.students_at_once}; it must be 0 (all), or a multiple of "
            f"outer.students_per_dataset = {c.outer.students_per_dataset} that divides all {c.num_students} students"
        ),
    ),
    CrossRule(
        holds=lambda c: c.promotion.clears_window or c.promotion.student != "window_best",
        message=lambda c: (
            "promotion.student is 'window_best' with promotion.clears_window=False: students from before a promotion "
            "started from another baseline student; clear the window, or use 'step_median' or 'step_best'"
        ),
    ),
    CrossRule(
        holds=lambda c: bool(c.source_run) or c.source_step == 0,
        message=lambda c: f"source_step is {c.source_step}, but source_run names no run; set it too",
    ),
    CrossRule(
        holds=lambda c: not c.source_run or c.num_outer_steps == 0,
        message=lambda c: (
            f"source_run is {c.source_run!r} with num_outer_steps={c.num_outer_steps}; a run that starts from a "
            "finished one makes no outer step, so use num_outer_steps=0"
        ),
    ),
    CrossRule(
        holds=lambda c: c.curriculum.keep == "all" or (bool(c.source_run) and c.registered_curriculum.needs_promotions),
        message=lambda c: (
            f"curriculum.keep is {c.curriculum.keep!r}, which chooses among judged promotion questions of a finished "
            "run; set source_run and curriculum.source='promotions'"
        ),
    ),
    CrossRule(
        holds=lambda c: not c.final_students_that("writes_questions") or c.final.num_steps % c.inner.num_steps == 0,
        message=lambda c: (
            f"final.num_steps is {c.final.num_steps}; with self-play it must be a multiple of inner.num_steps = "
            f"{c.inner.num_steps}"
        ),
    ),
    CrossRule(
        holds=lambda c: (
            not c.registered_schedule.has_warm_start
            or c.registered_curriculum.is_empty
            or c.curriculum.warm_start_steps <= c.final.num_steps
        ),
        message=lambda c: (
            f"curriculum.warm_start_steps is {c.curriculum.warm_start_steps}, and final.num_steps is "
            f"{c.final.num_steps}; lower the first or raise the second"
        ),
    ),
    CrossRule(
        holds=lambda c: c.final.report_at != "plateau" or _divides(c.final.test_every, c.final.report_steps),
        message=lambda c: (
            f"final.report_steps is {c.final.report_steps}; with final.report_at='plateau' it must be a multiple of "
            f"final.test_every = {c.final.test_every}, which must not be 0"
        ),
    ),
    CrossRule(
        holds=lambda c: (
            c.final.report_at != "step"
            or (_divides(c.final.test_every, c.final.report_step) and c.final.report_step <= c.final.num_steps)
        ),
        message=lambda c: (
            f"final.report_step is {c.final.report_step}; it must be a multiple of final.test_every = "
            f"{c.final.test_every}, which must not be 0, and at most final.num_steps = {c.final.num_steps}"
        ),
    ),
    CrossRule(
        holds=lambda c: c.student.reward != "graded" or "boxed" in c.grading.extraction,
        message=lambda c: (
            f"student.reward is 'graded', which rewards boxed answers, but grading.extraction is "
            f"{c.grading.extraction}; add 'boxed', or use 'right'"
        ),
    ),
    CrossRule(
        holds=lambda c: (
            c.teacher.turns == 1 or (c.prompts.teacher_format == "boxed_tags" and "boxed" in c.grading.extraction)
        ),
        message=lambda c: (
            "teacher.turns is 2, for which prompts.teacher_format must be 'boxed_tags' and grading.extraction must "
            f"have 'boxed'; they are {c.prompts.teacher_format!r} and {c.grading.extraction}"
        ),
    ),
    CrossRule(
        holds=lambda c: not c.registered_curriculum.needs_promotions or c.has_promoted,
        message=lambda c: (
            f"curriculum.source is {c.curriculum.source!r}, but without outer steps, teacher.reward='grounded' and a "
            "promotion.rule other than 'never' nothing is ever promoted; use 'teacher', 'curated' or 'none'"
        ),
    ),
    CrossRule(
        holds=lambda c: not c.final_students_that("starts_promoted") or c.has_promoted,
        message=lambda c: (
            f"final.students names {_kinds_that(c, 'starts_promoted')}, but with teacher.reward={c.teacher.reward!r}, "
            f"promotion.rule={c.promotion.rule!r} and num_outer_steps={c.num_outer_steps} nobody is promoted"
        ),
    ),
    CrossRule(
        holds=lambda c: (
            not (c.registered_curriculum.is_curated and c.registered_schedule.by_stage) or len(c.curriculum.levels) > 0
        ),
        message=lambda c: (
            f"curriculum.levels is empty, and curriculum.schedule is {c.curriculum.schedule!r}, which takes one level "
            "of curated problems after the other; name at least one level"
        ),
    ),
    CrossRule(
        holds=lambda c: (
            not c.registered_schedule.by_stage or c.num_curriculum_stages() * c.inner.num_steps <= c.final.num_steps
        ),
        message=lambda c: (
            f"the curriculum has {c.num_curriculum_stages()} stages of inner.num_steps={c.inner.num_steps} steps, and "
            f"final.num_steps is {c.final.num_steps}; raise it, or lower curriculum.num_questions or the number of "
            "curriculum.levels"
        ),
    ),
    CrossRule(
        holds=lambda c: not _without_curriculum(c),
        message=lambda c: (
            f"final.students names {', '.join(_without_curriculum(c))}, but curriculum.source is "
            f"{c.curriculum.source!r}"
        ),
    ),
    CrossRule(
        holds=lambda c: not c.final_students_that("writes_questions") or c.registered_curriculum.is_empty,
        message=lambda c: (
            f"final.students names {_kinds_that(c, 'writes_questions')}, whose questions are its own, "
            f"but curriculum.source is {c.curriculum.source!r}; use 'none', or another run"
        ),
    ),
    CrossRule(
        holds=lambda c: not _fields_are_read(c) or not _unnamed_field(c.problems.fields),
        message=lambda c: f"problems.fields names no {_unnamed_field(c.problems.fields)}; which field of a row is it?",
    ),
    CrossRule(
        holds=lambda c: c.transfer.source != JSONL or not _unnamed_field(c.transfer.fields),
        message=lambda c: f"transfer.fields names no {_unnamed_field(c.transfer.fields)}; which field of a row is it?",
    ),
    CrossRule(
        holds=lambda c: c.analysis.judge != "endpoint" or bool(c.analysis.judge_model),
        message=lambda c: "analysis.judge is 'endpoint', but analysis.judge_model names no model",
    ),
    CrossRule(
        holds=lambda c: c.lora.rank == 0 or len(c.lora.layers) > 0,
        message=lambda c: "lora.layers is empty; name at least one linear layer",
    ),
    CrossRule(
        holds=lambda c: all(size == -1 or size >= 1 for size in _mesh_sizes(c)),
        message=lambda c: f"{_mesh_text(c)}: a size is 1 or more, or -1 for what is left",
    ),
    CrossRule(
        holds=lambda c: _mesh_sizes(c).count(-1) <= 1,
        message=lambda c: f"{_mesh_text(c)}: only one size may be -1",
    ),
    _updates_rule("student"),
    _updates_rule("teacher"),
)

RULES_OF_WHOLE_RUNS = (
    CrossRule(
        holds=lambda c: c.source_run != UNSET and (bool(c.source_run) or not _needs_source_run(c)),
        message=lambda c: (
            f"{c.method} starts from a finished run of SOAR; name its workdir: --config.source_run=WORKDIR"
        ),
    ),
    CrossRule(
        holds=lambda c: not c.measures_students or _most_hard_train(c) >= c.outer.num_reward_questions,
        message=lambda c: (
            f"outer.num_reward_questions is {c.outer.num_reward_questions}, but of hard_subset.num_candidates="
            f"{c.hard_subset.num_candidates} at most {_most_hard_train(c)} become hard train problems; lower it or "
            "raise that"
        ),
    ),
    CrossRule(
        holds=lambda c: any(
            getattr(c.problems, key) != getattr(c.transfer, key) for key in ("source", _transfer_place(c))
        ),
        message=lambda c: (
            f"transfer has the source and the {_transfer_place(c)} of problems, "
            f"{getattr(c.transfer, _transfer_place(c))!r}, but is never to be trained on; choose another"
        ),
    ),
    CrossRule(
        holds=lambda c: not c.final_students_that("needs_true_answers") or c.problems.source == ARITHMETIC,
        message=lambda c: (
            f"final.students names {_kinds_that(c, 'needs_true_answers')}, but problems.source "
            f"{c.problems.source!r} cannot tell the true answers of new questions; leave it out"
        ),
    ),
    CrossRule(
        holds=lambda c: c.analysis.judge != "world" or c.problems.source == ARITHMETIC,
        message=lambda c: (
            f"analysis.judge is 'world', but problems.source {c.problems.source!r} cannot judge questions; use "
            "'self_consistency', 'endpoint' or 'none'"
        ),
    ),
)
