"""Rules that tie config keys to each other: one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from soar_jax.config.fields import integers
from soar_jax.config.policy_sections import PolicySection
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import require

ARITHMETIC = "arithmetic"
UNSET = "?"  # of `source_run` in methods that need one
METHODS_WITH_SOURCE = ("grounded_teacher", "promotion_questions", "correct_only", "well_posed_only", "inference")


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
    for name, section in {"problems": config.problems, "transfer": config.transfer}.items():
        if section.source == ARITHMETIC:
            integers(f"{name}.levels", section.levels)
    if config.problems.source == ARITHMETIC:
        integers("curriculum.levels", config.curriculum.levels)
    for rule in RULES:
        require(rule.holds(config), rule.message(config))
    for name, policy in {"student": config.student, "teacher": config.teacher}.items():
        _check_policy(name, policy)


def check_whole_run(config: RunConfig) -> None:
    """Checks rules of whole runs, which train and test students; other programs train nobody.

    Raises:
      SettingsError: with the keys, their values and what is allowed.
    """
    for rule in RULES_OF_WHOLE_RUNS:
        require(rule.holds(config), rule.message(config))


def _check_policy(name: str, policy: PolicySection) -> None:
    require(
        policy.updates_per_batch == 1 or policy.clip_ratio > 0,
        f"{name}.updates_per_batch is {policy.updates_per_batch} with clip_ratio=0: from the second update on a "
        "batch is off-policy, so set clip_ratio, e.g. 0.2",
    )


def _without_curriculum(config: RunConfig) -> list[str]:
    """Kinds of final students that need a curriculum, where there is none."""
    needs: list[str] = [
        name for name in ("curriculum", "true_answers", "random_answers") if name in config.final.students
    ]
    return needs if config.curriculum.source == "none" else []


def _most_hard_train(config: RunConfig) -> int:
    """Hard train problems at most."""
    half = config.hard_subset.num_candidates // 2
    return half - round(half * config.hard_subset.validation_share)


def _transfer_place(config: RunConfig) -> str:
    return "topic" if config.problems.source == ARITHMETIC else "path"


def _are_shares(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and 0 <= values[0] <= values[1] <= 1


def _divides(part: int, whole: int) -> bool:
    return part > 0 and whole % part == 0


def _fit_waves(config: RunConfig) -> bool:
    size = config.students_at_once
    return size > 0 and config.num_students % size == 0 and size % config.outer.students_per_dataset == 0


RULES = (
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
        holds=lambda c: c.curriculum.keep == "all" or (bool(c.source_run) and c.curriculum.source == "promotions"),
        message=lambda c: (
            f"curriculum.keep is {c.curriculum.keep!r}, which chooses among judged promotion questions of a finished "
            "run; set source_run and curriculum.source='promotions'"
        ),
    ),
    CrossRule(
        holds=lambda c: "self_play" not in c.final.students or c.final.num_steps % c.inner.num_steps == 0,
        message=lambda c: (
            f"final.num_steps is {c.final.num_steps}; with self-play it must be a multiple of inner.num_steps = "
            f"{c.inner.num_steps}"
        ),
    ),
    CrossRule(
        holds=lambda c: (
            c.curriculum.schedule != "warm_start"
            or c.curriculum.source == "none"
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
        holds=lambda c: c.curriculum.source != "promotions" or c.has_promoted,
        message=lambda c: (
            "curriculum.source is 'promotions', but without outer steps, teacher.reward='grounded' and a "
            "promotion.rule other than 'never' nothing is ever promoted; use 'teacher', 'curated' or 'none'"
        ),
    ),
    CrossRule(
        holds=lambda c: "promoted" not in c.final.students or c.has_promoted,
        message=lambda c: (
            f"final.students names 'promoted', but with teacher.reward={c.teacher.reward!r}, promotion.rule="
            f"{c.promotion.rule!r} and num_outer_steps={c.num_outer_steps} nobody is promoted"
        ),
    ),
    CrossRule(
        holds=lambda c: (
            c.curriculum.source != "curated" or c.curriculum.schedule != "then_hard" or len(c.curriculum.levels) > 0
        ),
        message=lambda c: (
            "curriculum.levels is empty, and curriculum.schedule is 'then_hard', which takes one level of curated "
            "problems after the other; name at least one level"
        ),
    ),
    CrossRule(
        holds=lambda c: c.num_curriculum_stages() * c.inner.num_steps <= c.final.num_steps,
        message=lambda c: (
            f"the curriculum has {c.num_curriculum_stages()} stages of inner.num_steps={c.inner.num_steps} steps, and "
            f"final.num_steps is {c.final.num_steps}; raise it, or lower curriculum.num_questions or the number of "
            "curriculum.levels"
        ),
    ),
    CrossRule(
        holds=lambda c: not _without_curriculum(c),
        message=lambda c: f"final.students names {', '.join(_without_curriculum(c))}, but curriculum.source is 'none'",
    ),
    CrossRule(
        holds=lambda c: "self_play" not in c.final.students or c.curriculum.source == "none",
        message=lambda c: (
            "final.students names 'self_play', whose questions are its own, but curriculum.source is "
            f"{c.curriculum.source!r}; use 'none', or another run"
        ),
    ),
    CrossRule(
        holds=lambda c: _are_shares(c.self_play.agreement),
        message=lambda c: f"self_play.agreement is {c.self_play.agreement}; give two shares, the lower first",
    ),
)

RULES_OF_WHOLE_RUNS = (
    CrossRule(
        holds=lambda c: c.source_run != UNSET and (bool(c.source_run) or c.method not in METHODS_WITH_SOURCE),
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
        holds=lambda c: "true_answers" not in c.final.students or c.problems.source == ARITHMETIC,
        message=lambda c: (
            f"final.students names 'true_answers', but problems.source {c.problems.source!r} cannot tell the true "
            "answers of new questions; leave it out"
        ),
    ),
)
