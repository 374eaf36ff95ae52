"""Rules that tie config keys to each other: one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from soar_jax.config.fields import integers
from soar_jax.config.run_config import RunConfig
from soar_jax.config.sections import PolicySection
from soar_jax.errors import require

ARITHMETIC = "arithmetic"


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
        holds=lambda c: c.final.num_steps % c.inner.num_steps == 0,
        message=lambda c: (
            f"final.num_steps is {c.final.num_steps}; it must be a multiple of inner.num_steps = {c.inner.num_steps}"
        ),
    ),
    CrossRule(
        holds=lambda c: c.curriculum.source != "promotions" or c.promotes,
        message=lambda c: (
            "curriculum.source is 'promotions', but without outer steps and teacher.reward='grounded' nothing is ever "
            "promoted; use 'teacher', 'curated' or 'none'"
        ),
    ),
    CrossRule(
        holds=lambda c: "promoted" not in c.final.students or c.promotes,
        message=lambda c: (
            f"final.students names 'promoted', but with teacher.reward={c.teacher.reward!r} and num_outer_steps="
            f"{c.num_outer_steps} nobody is promoted"
        ),
    ),
    CrossRule(
        holds=lambda c: c.curriculum.source != "curated" or len(c.curriculum.levels) > 0,
        message=lambda c: "curriculum.levels is empty, and curriculum.source is 'curated'; name at least one level",
    ),
    CrossRule(
        holds=lambda c: (
            c.curriculum.schedule == "mixed" or c.num_curriculum_stages() * c.inner.num_steps <= c.final.num_steps
        ),
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
        holds=lambda c: not c.promotes or _most_hard_train(c) >= c.outer.num_reward_questions,
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
