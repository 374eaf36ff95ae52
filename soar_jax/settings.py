"""Checks on a run's config, made before anything costs time.

Everything a user can get wrong is raised as `SettingsError`: one line that says what
is wrong and what to do. The programs print it and exit with `EXIT_BAD_INPUT`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
from absl import flags

EXIT_FAILED = 1  # an error that nobody foresaw; its traceback says where
EXIT_BAD_INPUT = 2  # a SettingsError, or a file that cannot be read or written, ended the program
EXIT_NOT_FINITE = 3  # a loss or gradient was NaN or infinite
EXIT_LOST_PROCESS = 4  # a process of several has ended, failed or cannot be reached
EXIT_INTERRUPTED = 75  # SIGTERM or Ctrl-C: state saved, the same command resumes (EX_TEMPFAIL)
EXIT_STOPPED = 130  # Ctrl-C where there is nothing to save


AUTO = "auto"  # of a model's dtype and attention: what suits the devices
FINAL_STUDENTS = ("curriculum", "true_answers", "random_answers", "promoted", "hard_only", "self_play")
TEACHER_REWARDS = ("grounded", "learnability", "r_zero", "absolute_zero")


# Keys, or whole sections, that say how a run is computed and not what: it may go on with others of these.
HOW = (
    "mesh",
    "sampling",
    "checkpoints",
    "inner.students_at_once",
    "evaluation.problems_per_call",
    "grading.num_workers",
    "model.attention",
    *(
        f"{policy}.{key}"
        for policy in ("student", "teacher")
        for key in ("rows_per_micro_batch", "logprob_chunk_tokens", "bucket_tokens", "remat")
    ),
)


class SettingsError(ValueError):
    """Something the user gave is wrong; the message says what, and what to do."""


def require(condition: bool, message: str) -> None:
    """Raises `SettingsError(message)` unless `condition` holds."""
    if not condition:
        raise SettingsError(message)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Makes what goes wrong in reading flags and config files a `SettingsError` of one line."""
    try:
        yield
    except (KeyError, AttributeError) as error:
        raise SettingsError(f"no such config key: {_first_line(error)}") from None
    except (flags.Error, TypeError, ValueError, OSError, ImportError, SyntaxError) as error:
        raise SettingsError(_first_line(error)) from None


def _first_line(error: BaseException) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    # A config file's own error comes wrapped in its traceback.
    text = text.rpartition(f"{SettingsError.__name__}: ")[2]
    text = text.partition("The above exception was")[0]
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1]
    return " ".join(text.split())


def what(config: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """A config, as nested dicts, without the keys in `HOW`: all that a run's results depend on, but for rounding."""
    kept = {f"{section}.{key}".strip("."): (key, value) for key, value in config.items()}
    return {
        key: what(value, name) if isinstance(value, Mapping) else value
        for name, (key, value) in kept.items()
        if name not in HOW
    }


def with_dtype(config: Any, platform: str) -> ml_collections.FrozenConfigDict:
    """The config with `model.dtype` "auto" settled for devices of a platform ("cpu", "gpu" or "tpu").

    CPUs compute in float32, which is faster there, accelerators in bfloat16.
    """
    settled = ml_collections.ConfigDict(config.to_dict())  # a copy, sections too
    if settled.model.dtype == AUTO:
        settled.model.dtype = "float32" if platform == "cpu" else "bfloat16"
    return ml_collections.FrozenConfigDict(settled)


def _check_positive(config: Mapping[str, Any], section: str, names: tuple[str, ...]) -> None:
    for name in names:
        value = config[section][name]
        require(value >= 1, f"{section}.{name} is {value}; it must be at least 1")


def check(config: Any) -> None:
    """Refuses a method config whose values cannot make a run.

    Raises:
      SettingsError: with the key, its value and what is allowed.
    """
    require(config.num_outer_steps >= 0, f"num_outer_steps is {config.num_outer_steps}; it must be 0 or more")
    _check_positive(
        config,
        "outer",
        ("num_datasets", "questions_per_dataset", "students_per_dataset", "num_reward_questions", "reward_samples"),
    )
    _check_positive(config, "inner", ("num_steps", "questions_per_step", "group_size"))
    _check_positive(config, "evaluation", ("num_samples", "validation_samples", "problems_per_call"))
    _check_positive(config, "transfer", ("num_problems",))
    _check_positive(config, "curriculum", ("num_questions",))
    _check_positive(config, "self_play", ("questions_per_episode", "label_samples"))
    _check_positive(config, "analysis", ("judge_questions", "judge_samples"))
    _check_positive(config, "hard_subset", ("num_samples", "samples_per_round", "num_candidates"))
    require(
        config.hard_subset.num_samples % config.hard_subset.samples_per_round == 0,
        f"hard_subset.num_samples is {config.hard_subset.num_samples}; it must be a multiple of "
        f"hard_subset.samples_per_round = {config.hard_subset.samples_per_round}",
    )
    _check_positive(config, "sampling", ("max_slots", "population_batch"))
    _check_positive(config, "checkpoints", ("keep",))
    keep_every = config.checkpoints.keep_every
    require(keep_every >= 0, f"checkpoints.keep_every is {keep_every}; it must be 0 (none) or more")
    outer, inner = config.outer, config.inner
    require(
        outer.num_datasets >= 2 or not config.teacher.train,
        "outer.num_datasets is 1; RLOO compares a dataset with the others, so use at least 2",
    )
    require(inner.group_size >= 2, f"inner.group_size is {inner.group_size}; RLOO needs at least 2 samples a question")
    _check_integers("evaluation.pass_at", config.evaluation.pass_at)
    for name, seed in {
        "seed": config.seed,
        "problems.seed": config.problems.seed,
        "transfer.seed": config.transfer.seed,
    }.items():
        require(0 <= seed < 2**32, f"{name} is {seed}; it must be 0 to {2**32 - 1}")
    require(config.promotion.threshold == config.promotion.threshold, "promotion.threshold is nan; give a number")
    _check_integers("prompts.bucket_tokens", config.prompts.bucket_tokens)
    for section, source in {
        "problems": config.problems.source,
        "transfer": config.transfer.source,
        "curriculum": config.problems.source,
    }.items():
        if config[section].levels or source == "arithmetic":
            _check_integers(f"{section}.levels", config[section].levels)
    require("{question}" in config.prompts.student, "prompts.student lacks {question}: students would be asked nothing")
    require("{opening}" in config.prompts.from_seed, "prompts.from_seed lacks {opening}: self-play would see no seed")
    require(bool(config.prompts.question_end), "prompts.question_end is empty; it must end the teacher's question")
    check_choice("model.dtype", config.model.dtype, (AUTO, "float32", "bfloat16"))
    check_choice("model.attention", config.model.attention, (AUTO, "plain", "splash", "cudnn"))
    share = config.hard_subset.validation_share
    require(0 < share < 1, f"hard_subset.validation_share is {share}; it must be between 0 and 1")
    for name in ("reward_temperature", "stop_at_validation"):
        require(outer[name] >= 0, f"outer.{name} is {outer[name]}; it must be 0 or more")
    require(outer.stop_at_validation > 0, "outer.stop_at_validation is 0: the run would stop after its first step")
    for section in ("evaluation", "hard_subset"):
        temperature, top_p = config[section].temperature, config[section].top_p
        require(temperature >= 0, f"{section}.temperature is {temperature}; it must be 0 (greedy) or more")
        require(0 < top_p <= 1, f"{section}.top_p is {top_p}; it must be in (0, 1]")
    for section in ("student", "teacher"):
        _check_policy(section, config[section])
    require(
        outer.reward_temperature > 0 or outer.reward_samples == 1,
        f"outer.reward_samples is {outer.reward_samples} with outer.reward_temperature=0: greedy samples are "
        "all alike, so use 1",
    )
    require(config.promotion.window >= 1, f"promotion.window is {config.promotion.window}; it must be at least 1")
    largest = max(config.evaluation.pass_at)
    require(
        config.evaluation.num_samples >= largest,
        f"evaluation.num_samples is {config.evaluation.num_samples}; pass@{largest} needs at least {largest}",
    )
    require(
        config.evaluation.temperature > 0 or config.evaluation.num_samples == 1,
        f"evaluation.num_samples is {config.evaluation.num_samples} with evaluation.temperature=0: greedy samples are "
        "all alike, so use 1, and evaluation.pass_at=(1,)",
    )
    require(
        config.hard_subset.temperature > 0 or config.hard_subset.num_samples == 1,
        f"hard_subset.num_samples is {config.hard_subset.num_samples} with hard_subset.temperature=0: greedy samples "
        "are all alike, so a problem would be hard by a single try; use more than 0",
    )
    _check_positive(config, "teacher", ("solver_samples",))
    penalty = config.teacher.invalid_penalty
    require(penalty >= 0, f"teacher.invalid_penalty is {penalty}; it must be 0 (off) or more")
    check_choice("promotion.statistic", config.promotion.statistic, ("mean", "best"))
    check_choice("promotion.student", config.promotion.student, ("step_best", "window_best"))
    check_choice("teacher.reward", config.teacher.reward, TEACHER_REWARDS)
    check_choice("analysis.judge", config.analysis.judge, ("world", "self_consistency", "endpoint", "none"))
    _check_final(config)


def _check_final(config: Any) -> None:
    final, curriculum, steps = config.final, config.curriculum, config.inner.num_steps
    _check_positive(config, "final", ("num_replicas", "num_steps"))
    require(
        final.num_steps % steps == 0,
        f"final.num_steps is {final.num_steps}; it must be a multiple of inner.num_steps = {steps}",
    )
    check_choice("curriculum.source", curriculum.source, ("promotions", "teacher", "curated", "none"))
    check_choice("curriculum.schedule", curriculum.schedule, ("then_hard", "mixed"))
    for name in final.students:
        check_choice("final.students", name, FINAL_STUDENTS)
    require(
        curriculum.source != "promotions" or promotes(config),
        "curriculum.source is 'promotions', but without outer steps and teacher.reward='grounded' nothing is ever "
        "promoted; use 'teacher', 'curated' or 'none'",
    )
    require(
        "promoted" not in final.students or promotes(config),
        f"final.students names 'promoted', but with teacher.reward={config.teacher.reward!r} and num_outer_steps="
        f"{config.num_outer_steps} nobody is promoted",
    )
    _check_stages(config)
    needs = [name for name in ("curriculum", "true_answers", "random_answers") if name in final.students]
    require(
        curriculum.source != "none" or not needs,
        f"final.students names {', '.join(needs)}, but curriculum.source is 'none'",
    )
    require(
        "self_play" not in final.students or curriculum.source == "none",
        "final.students names 'self_play', whose questions are its own, but curriculum.source is "
        f"{curriculum.source!r}; use 'none', or another run",
    )
    agreement = tuple(config.self_play.agreement)
    is_range = len(agreement) == 2 and 0 <= agreement[0] <= agreement[1] <= 1
    require(is_range, f"self_play.agreement is {agreement}; give two shares, the lower first")


def _check_stages(config: Any) -> None:
    """Refuses a curriculum that the final students have no time for."""
    curriculum, steps = config.curriculum, config.inner.num_steps
    stages = {
        "teacher": -(-curriculum.num_questions // config.outer.questions_per_dataset),
        "curated": len(curriculum.levels),
    }.get(curriculum.source, 0)
    require(
        curriculum.source != "curated" or stages > 0,
        "curriculum.levels is empty, and curriculum.source is 'curated'; name at least one level",
    )
    require(
        curriculum.schedule == "mixed" or stages * steps <= config.final.num_steps,
        f"the curriculum has {stages} stages of inner.num_steps={steps} steps, and final.num_steps is "
        f"{config.final.num_steps}; raise it, or lower curriculum.num_questions or the number of curriculum.levels",
    )


def check_run(config: Any) -> None:
    """Refuses what the problems cannot serve in a whole run; other programs train no students.

    Raises:
      SettingsError: true answers are wanted of a source that cannot tell them; the hard subset can never have enough
        reward questions; or transfer problems are the problems that are trained on.
    """
    half = config.hard_subset.num_candidates // 2
    most = half - round(half * config.hard_subset.validation_share)
    require(
        not promotes(config) or most >= config.outer.num_reward_questions,
        f"outer.num_reward_questions is {config.outer.num_reward_questions}, but of hard_subset.num_candidates="
        f"{config.hard_subset.num_candidates} at most {most} become hard train problems; lower it or raise that",
    )
    place = "topic" if config.problems.source == "arithmetic" else "path"
    require(
        any(config.problems[key] != config.transfer[key] for key in ("source", place)),
        f"transfer has the source and the {place} of problems, {config.transfer[place]!r}, but is never to be trained "
        "on; choose another",
    )
    require(
        "true_answers" not in config.final.students or config.problems.source == "arithmetic",
        f"final.students names 'true_answers', but problems.source {config.problems.source!r} cannot tell the true "
        "answers of new questions; leave it out",
    )


def embeds_questions(config: Any) -> bool:
    """Whether questions that are not hard problems are told apart by the model's own embeddings."""
    own = config.num_outer_steps > 0 or config.curriculum.source != "none" or "self_play" in config.final.students
    return config.analysis.embeddings == "model" and own


def promotes(config: Any) -> bool:
    """Whether the outer loop measures students, on reward questions, and promotes them."""
    return config.teacher.reward == "grounded" and config.num_outer_steps > 0


def _check_integers(name: str, values: Any) -> None:
    require(
        len(values) > 0 and all(type(value) is int and value >= 1 for value in values),
        f"{name} is {tuple(values)}; give at least one whole number, each 1 or more",
    )


def _check_policy(name: str, policy: Any) -> None:
    require(
        policy.temperature > 0,
        f"{name}.temperature is {policy.temperature}; training needs samples that differ, so use more than 0",
    )
    for key in ("max_completion_tokens", "rows_per_micro_batch", "logprob_chunk_tokens", "updates_per_batch"):
        require(policy[key] >= 1, f"{name}.{key} is {policy[key]}; it must be at least 1")
    for key in ("learning_rate", "adam_eps", "max_grad_norm"):
        require(policy[key] > 0, f"{name}.{key} is {policy[key]}; it must be more than 0")
    if policy.bucket_tokens:
        _check_integers(f"{name}.bucket_tokens", policy.bucket_tokens)
    require(
        policy.updates_per_batch == 1 or policy.clip_ratio > 0,
        f"{name}.updates_per_batch is {policy.updates_per_batch} with clip_ratio=0: from the second update on a "
        "batch is off-policy, so set clip_ratio, e.g. 0.2",
    )
    for key in ("adam_b1", "adam_b2"):
        require(0 <= policy[key] < 1, f"{name}.{key} is {policy[key]}; it must be in [0, 1)")
    for key in ("clip_ratio", "kl_coef"):
        require(policy[key] >= 0, f"{name}.{key} is {policy[key]}; it must be 0 (off) or more")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuses a value that is not one of `choices`."""
    require(value in choices, f"{name} is {value!r}; choose one of {', '.join(choices)}")
