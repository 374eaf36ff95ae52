import contextlib
import importlib

import ml_collections
import pytest

from configs import base_teacher, curated, hard_only, scales
from configs.soar_math import get_config
from soar_jax import settings
from soar_jax.settings import SettingsError
from tests.conftest import ROOT

BAD = {
    "num_outer_steps=-1": "num_outer_steps is -1",
    "outer.num_datasets=1": "RLOO compares a dataset with the others",
    "outer.num_reward_questions=0": "outer.num_reward_questions is 0; it must be at least 1",
    "outer.reward_temperature=0.0": "greedy samples are all alike",
    "inner.group_size=1": "RLOO needs at least 2 samples a question",
    "seed=-1": "seed is -1",
    "problems.seed=-1": "problems.seed is -1",
    "seed=99999999999": "seed is 99999999999; it must be 0 to",
    "promotion.threshold=nan": "promotion.threshold is nan",
    "prompts.student='exam'": "prompts.student lacks {question}",
    "prompts.question_end=''": "prompts.question_end is empty",
    "model.dtype='float8'": "choose one of auto, float32, bfloat16",
    "model.attention='flash'": "choose one of auto, plain, splash, cudnn",
    "hard_subset.validation_share=1.0": "validation_share is 1.0; it must be between 0 and 1",
    "outer.stop_at_validation=0.0": "the run would stop after its first step",
    "outer.reward_temperature=-1.0": "outer.reward_temperature is -1.0",
    "student.adam_b2=1.0": r"student.adam_b2 is 1.0; it must be in \[0, 1\)",
    "student.temperature=0.0": "training needs samples that differ",
    "student.adam_eps=0.0": "student.adam_eps is 0.0; it must be more than 0",
    "student.updates_per_batch=2": "so set clip_ratio",
    "teacher.kl_coef=-0.1": "teacher.kl_coef is -0.1",
    "teacher.max_completion_tokens=0": "teacher.max_completion_tokens is 0",
    "evaluation.num_samples=16": "pass@32 needs at least 32",
    "evaluation.temperature=0.0": "greedy samples are all alike",
    "teacher.solver_samples=0": "teacher.solver_samples is 0; it must be at least 1",
    "teacher.invalid_penalty=-1.0": "teacher.invalid_penalty is -1.0",
    "evaluation.top_p=0.0": r"evaluation.top_p is 0.0; it must be in \(0, 1\]",
    "hard_subset.temperature=-1.0": "hard_subset.temperature is -1.0",
    "promotion.window=0": "promotion.window is 0",
    "promotion.statistic='median'": "choose one of mean, best",
    "promotion.student='best'": "promotion.student is 'best'; choose one of step_best, window_best",
    "curriculum.source='books'": "curriculum.source is 'books'; choose one of promotions, teacher, curated, none",
    "teacher.reward='novelty'": "choose one of grounded, learnability, r_zero, absolute_zero",
    "hard_subset.samples_per_round=0": "hard_subset.samples_per_round is 0; it must be at least 1",
    "final.num_steps=15": "it must be a multiple of inner.num_steps = 10",
    "final.num_replicas=0": "final.num_replicas is 0",
    "curriculum.source='none'": "final.students names curriculum, true_answers, random_answers, but",
    "curriculum.schedule='random'": "choose one of then_hard, mixed",
    "teacher.reward='r_zero'": "nothing is ever promoted",
    "num_outer_steps=0": "nothing is ever promoted",
    "transfer.num_problems=0": "transfer.num_problems is 0",
    "prompts.from_seed='teacher'": "prompts.from_seed lacks {opening}",
    "analysis.judge='me'": "choose one of world, self_consistency, endpoint, none",
    "hard_subset.temperature=0": "greedy samples are all alike, so a problem would be hard by a single try",
    "sampling.population_batch=0": "sampling.population_batch is 0",
}


@pytest.mark.parametrize(
    ("scale", "cpu", "tpu"), [("nano", "float32", "float32"), ("smollm2-135m", "float32", "bfloat16")]
)
def test_the_dtype_is_settled_by_the_platform_unless_it_is_given(scale, cpu, tpu):
    config = ml_collections.FrozenConfigDict(get_config(scale))
    assert settings.with_dtype(config, "cpu").model.dtype == cpu
    assert settings.with_dtype(config, "tpu").model.dtype == tpu
    others = [{**settled.to_dict(), "model": 0} for settled in (config, settings.with_dtype(config, "gpu"))]
    assert others[0] == others[1]


def test_the_shipped_config_is_accepted():
    settings.check(ml_collections.FrozenConfigDict(get_config()))


def test_how_a_run_is_computed_is_apart_from_what():
    config = get_config().to_dict()
    kept = settings.what(config)
    assert {"mesh", "sampling", "checkpoints"} == config.keys() - kept.keys()
    assert config["grading"].keys() - kept["grading"].keys() == {"num_workers"}
    for key in settings.HOW:  # each is a key that there is
        section, _, name = key.partition(".")
        assert not name or name in config[section]


METHODS = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"__init__", "scales", "pretrain_nano"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_is_accepted_at_every_scale(method):
    module = importlib.import_module(f"configs.{method}")
    for scale in scales.names():
        config = ml_collections.FrozenConfigDict(module.get_config(scale))
        settings.check(config)
        settings.check_run(config)


def test_true_answers_of_new_questions_need_a_source_that_knows_them():
    config = get_config()
    settings.check_run(config)
    config.problems.source = "math"
    with pytest.raises(SettingsError, match="'math' cannot tell the true answers of new questions"):
        settings.check_run(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hard_subset.num_candidates": 100}, "at most 33 become hard train problems"),
        ({"transfer.topic": "dial"}, "transfer has the source and the topic of problems"),
    ],
)
def test_what_cannot_serve_a_whole_run_is_refused(changes, message):
    config = get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(SettingsError, match=message):
        settings.check_run(config)


def test_methods_without_reward_questions_need_none():
    config = hard_only.get_config()
    config.hard_subset.num_candidates = 8
    settings.check_run(config)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (curated, {"curriculum.levels": (), "problems.source": "math"}, "curriculum.levels is empty"),
        (curated, {"curriculum.levels": (3, 4, 5, 6, 7, 8)}, "the curriculum has 6 stages of inner.num_steps=10 steps"),
        (base_teacher, {"curriculum.num_questions": 128}, "the curriculum has 8 stages"),
        (hard_only, {"final.students": ("promoted",)}, "num_outer_steps=0 nobody is promoted"),
        (
            curated,
            {"final.students": ("self_play",)},
            "'self_play', whose questions are its own, but curriculum.source is",
        ),
        (hard_only, {"self_play.agreement": (0.5,)}, r"self_play.agreement is \(0.5,\); give two shares"),
    ],
)
def test_final_students_that_cannot_be_trained_as_told_are_refused(method, changes, message):
    config = method.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(SettingsError, match=message):
        settings.check(ml_collections.FrozenConfigDict(config))


@pytest.mark.parametrize("change", BAD)
def test_a_value_that_cannot_make_a_run_is_refused(change):
    key, _, value = change.partition("=")
    config = get_config()
    config.update_from_flattened_dict({key: type(config_value(config, key))(value.strip("'"))})
    with pytest.raises(SettingsError, match=BAD[change]):
        settings.check(ml_collections.FrozenConfigDict(config))


def config_value(config, key):
    for part in key.split("."):
        config = config[part]
    return config


def test_a_frozen_teacher_needs_no_second_dataset():
    config = get_config()
    config.outer.num_datasets = 1
    config.teacher.train = False
    settings.check(config)


NAMES = "curriculum, true_answers, random_answers, promoted, hard_only, self_play"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("evaluation.pass_at", (), r"evaluation.pass_at is \(\); give at least one whole number, each 1 or more"),
        ("evaluation.pass_at", (0, 4), r"evaluation.pass_at is \(0, 4\); give"),
        ("evaluation.pass_at", (1, 4.0), r"evaluation.pass_at is \(1, 4.0\); give"),
        ("prompts.bucket_tokens", (), r"prompts.bucket_tokens is \(\); give"),
        ("prompts.bucket_tokens", (4, -15), r"prompts.bucket_tokens is \(4, -15\); give"),
        ("student.bucket_tokens", (0,), r"student.bucket_tokens is \(0,\); give"),
        ("teacher.bucket_tokens", ("8",), r"teacher.bucket_tokens is \('8',\); give"),
        ("problems.levels", (), r"problems.levels is \(\); give"),
        ("problems.levels", (6, "7"), r"problems.levels is \(6, '7'\); give"),
        ("transfer.levels", (), r"transfer.levels is \(\); give"),
        ("transfer.levels", (True,), r"transfer.levels is \(True,\); give"),
        ("curriculum.levels", (0,), r"curriculum.levels is \(0,\); give"),
        ("final.students", ("hard_only", "promotd"), f"final.students is 'promotd'; choose one of {NAMES}$"),
        ("self_play.agreement", (0.8, 0.2), r"self_play.agreement is \(0.8, 0.2\); give two shares, the lower first"),
    ],
)
def test_a_list_that_cannot_make_a_run_is_refused(key, value, message):
    config = get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(SettingsError, match=message):
        settings.check(ml_collections.FrozenConfigDict(config))


def test_no_levels_are_all_of_a_benchmark():
    config = get_config()
    for section in (config.problems, config.transfer):
        section.update(source="math", levels=())
    config.curriculum.levels = ()
    settings.check(ml_collections.FrozenConfigDict(config))


@pytest.mark.parametrize(("samples", "is_refused"), [(64, False), (128, False), (96, True), (256, True)])
def test_rounds_of_the_hard_subset_are_whole(samples, is_refused):
    config = get_config()
    config.hard_subset.samples_per_round = samples
    message = f"num_samples is 128; it must be a multiple of hard_subset.samples_per_round = {samples}$"
    with pytest.raises(SettingsError, match=message) if is_refused else contextlib.nullcontext():
        settings.check(ml_collections.FrozenConfigDict(config))
