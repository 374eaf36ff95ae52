"""Each config key by itself: its type, its rules, and what is written about it."""

import dataclasses
import re
from typing import get_type_hints

import pytest

from soar_jax.config import method_config, read_config
from soar_jax.config.reference import keys
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError
from soar_jax.registry import EXTENSION_POINTS, registry
from tests.configs import make_config

NAMES = "curriculum, true_answers, random_answers, promoted, hard_only, self_play"
BAD = [
    ("num_outer_steps", -1, "num_outer_steps is -1; it must be 0 or more"),
    ("outer.num_reward_questions", 0, "outer.num_reward_questions is 0; it must be at least 1"),
    ("inner.group_size", 1, "RLOO needs at least 2 samples a question"),
    ("seed", -1, "seed is -1"),
    ("problems.seed", -1, "problems.seed is -1"),
    ("transfer.seed", -1, "transfer.seed is -1"),
    ("seed", 99999999999, "seed is 99999999999; it must be 0 to 4294967295"),
    ("promotion.threshold", float("nan"), "promotion.threshold is nan; give a number"),
    ("prompts.student", "exam", "prompts.student lacks {question}: students would be asked nothing"),
    ("prompts.student", "step_by_stp", "give a text with it, or one of frame, step_by_step"),
    (
        "prompts.teacher",
        "three_exampels",
        "prompts.teacher is three_exampels; give one of the names topics, one_example, three_examples, teacher, or a "
        "text of several words",
    ),
    ("prompts.teacher", "", "prompts.teacher is empty; give one of the names topics, "),
    ("prompts.opening_words", -3, "prompts.opening_words is -3; it must be at least 1"),
    ("prompts.from_seed", "teacher", "prompts.from_seed lacks {opening}: self-play would see no seed"),
    ("prompts.question_end", "", "prompts.question_end is empty; it must end the teacher's question"),
    ("promotion.threshold", float("inf"), "promotion.threshold is inf; give a number"),
    ("student.learning_rate", float("inf"), "student.learning_rate is inf; give a number"),
    ("problems.topic", "dail", "problems.topic is 'dail'; choose one of dial, mirror"),
    ("transfer.topic", "", "transfer.topic is ''; choose one of dial, mirror"),
    ("analysis.embeddings", "bert", "analysis.embeddings is 'bert'; use 'model' or 'sentence-transformers:NAME_OR_F"),
    ("analysis.embeddings", "sentence-transformers:", "analysis.embeddings is 'sentence-transformers:'; use 'model'"),
    ("analysis.judge_agreement", -2.0, "analysis.judge_agreement is -2.0; it must be 0 to 1"),
    ("self_play.max_similarity", 7.0, "self_play.max_similarity is 7.0; it must be 0 to 1"),
    ("self_play.agreement", (0.8, 0.2), "self_play.agreement is (0.8, 0.2); give two shares, the lower first"),
    ("self_play.agreement", (0.5,), "self_play.agreement is (0.5,); give two shares, the lower first"),
    ("lora.scale", -1.0, "lora.scale is -1.0; it must be more than 0"),
    ("mesh.cpu_devices", 0, "mesh.cpu_devices is 0; it must be at least 1"),
    ("model.dtype", "float8", "model.dtype is 'float8'; choose one of auto, float32, bfloat16"),
    ("model.attention", "flash", "model.attention is 'flash'; choose one of auto, plain, splash, cudnn"),
    ("hard_subset.validation_share", 1.0, "hard_subset.validation_share is 1.0; it must be 0 or more, and below 1"),
    ("hard_subset.temperature", -1.0, "hard_subset.temperature is -1.0; it must be 0 (greedy) or more"),
    ("hard_subset.samples_per_round", 0, "hard_subset.samples_per_round is 0; it must be at least 1"),
    ("outer.stop_at_validation", 0.0, "the run would stop after its first step"),
    ("outer.reward_temperature", -1.0, "outer.reward_temperature is -1.0; it must be 0 or more"),
    ("student.adam_b2", 1.0, "student.adam_b2 is 1.0; it must be in [0, 1)"),
    ("student.temperature", 0.0, "training needs samples that differ, so use more than 0"),
    ("student.adam_eps", 0.0, "student.adam_eps is 0.0; it must be more than 0"),
    ("teacher.kl_coef", -0.1, "teacher.kl_coef is -0.1; it must be 0 (off) or more"),
    ("teacher.max_completion_tokens", 0, "teacher.max_completion_tokens is 0; it must be at least 1"),
    ("teacher.solver_samples", 0, "teacher.solver_samples is 0; it must be at least 1"),
    ("teacher.invalid_penalty", -1.0, "teacher.invalid_penalty is -1.0; it must be 0 (off) or more"),
    ("teacher.reward", "novelty", "teacher.reward is 'novelty'; choose one of grounded, "),
    ("evaluation.top_p", 0.0, "evaluation.top_p is 0.0; it must be in (0, 1]"),
    ("promotion.window", 0, "promotion.window is 0; it must be at least 1"),
    ("promotion.statistic", "median", "promotion.statistic is 'median'; choose one of mean, best"),
    ("promotion.student", "best", "promotion.student is 'best'; choose one of step_median, step_best, window_best"),
    ("curriculum.source", "books", "curriculum.source is 'books'; choose one of promotions, teacher, curated, none"),
    ("curriculum.schedule", "random", "curriculum.schedule is 'random'; choose one of "),
    ("curriculum.curated_source", "maths", "curriculum.curated_source is 'maths'; choose one of arithmetic, math, "),
    ("curriculum.keep", "wrong", "curriculum.keep is 'wrong'; choose one of all, right, well_posed"),
    ("transfer.source", "nothing", "transfer.source is 'nothing'; choose one of arithmetic, math, "),
    ("student.schedule", "step", "student.schedule is 'step'; choose one of constant, linear, cosine"),
    ("student.kl", "k2", "student.kl is 'k2'; choose one of k3_in_loss, k1_in_reward"),
    ("student.weight_decay", -0.1, "student.weight_decay is -0.1; it must be 0 (off) or more"),
    ("student.graded_values", (1.0, 0.0), "student.graded_values is (1.0, 0.0); give four numbers"),
    ("student.reward", "rewards", "student.reward is 'rewards'; choose one of "),
    ("student.reward", "no_module:reward", "student.reward is 'no_module:reward', which cannot be imported (Module"),
    ("student.reward", "math:nothing", "student.reward is 'math:nothing', which cannot be imported (AttributeError"),
    ("student.reward", "math:pi", "student.reward is 'math:pi', which is no function"),
    ("student.completion_buckets", 0, "student.completion_buckets is 0; it must be at least 1"),
    ("teacher.turns", 3, "teacher.turns is 3; it must be 1 or 2"),
    ("teacher.malformed", "keep", "teacher.malformed is 'keep'; choose one of resample, penalise"),
    ("final.report_at", "best", "final.report_at is 'best'; choose one of plateau, step, end"),
    ("final.plateau_slope", 1.0, "final.plateau_slope is 1.0; it must be between 0 and 1"),
    ("final.num_replicas", 0, "final.num_replicas is 0; it must be at least 1"),
    ("transfer.num_problems", 0, "transfer.num_problems is 0; it must be at least 1"),
    ("analysis.judge", "me", "choose one of world, self_consistency, endpoint, none"),
    ("sampling.population_batch", -1, "sampling.population_batch is -1; it must be 0 (by device) or more"),
    ("inner.students_at_once", -2, "inner.students_at_once is -2; it must be at least -1"),
    ("inner.update_batch", 0, "inner.update_batch is 0; it must be at least 1"),
    ("checkpoints.keep_every", -1, "checkpoints.keep_every is -1; it must be 0 (none) or more"),
    # Lists.
    ("evaluation.pass_at", (), "evaluation.pass_at is (); give at least one whole number, each 1 or more"),
    ("evaluation.pass_at", (0, 4), "evaluation.pass_at is (0, 4); give"),
    ("evaluation.pass_at", (1, 4.0), "evaluation.pass_at is (1, 4.0); give"),
    ("prompts.bucket_tokens", (), "prompts.bucket_tokens is (); give"),
    ("prompts.bucket_tokens", (4, -15), "prompts.bucket_tokens is (4, -15); give"),
    ("problems.levels", (6, "7"), "problems.levels is (6, '7'); give"),
    ("transfer.levels", (True,), "transfer.levels is (True,); give"),
    ("curriculum.levels", (0,), "curriculum.levels is (0,); give"),
    ("final.students", ("hard_only", "promotd"), f"final.students is 'promotd'; choose one of {NAMES}"),
    ("grading.extraction", (), "grading.extraction is empty; name at least one extractor"),
    ("grading.extraction", ("boxd",), "grading.extraction is 'boxd'; choose one of"),
    ("lora.layers", ("querry",), "lora.layers is 'querry'; choose one of query, key, value"),
    ("final.students", ("hard_only", "hard_only"), "final.students is ('hard_only', 'hard_only'); name each only once"),
    ("evaluation.pass_at", (1, 4, 4), "evaluation.pass_at is (1, 4, 4); name each only once"),
    ("tracking.trackers", ("wandb", "wandb"), "tracking.trackers is ('wandb', 'wandb'); name each only once"),
    # Types.
    ("self_play.agreement", ("x", "y"), "self_play.agreement[0] is 'x'; it must be a number"),
    ("self_play.agreement", (0.2, float("nan")), "self_play.agreement[1] is nan; give a number"),
    ("student.graded_values", (1, 0, "c", 0), "student.graded_values[2] is 'c'; it must be a number"),
    ("prompts.subjects", (1, 2), "prompts.subjects[0] is 1; it must be a text"),
    ("seed", "1", "seed is '1'; it must be a whole number"),
    ("seed", 1.0, "seed is 1.0; it must be a whole number"),
    ("seed", True, "seed is True; it must be a whole number"),
    ("outer.num_datasets", "many", "outer.num_datasets is 'many'; it must be a whole number"),
    ("student.learning_rate", "1e-5", "student.learning_rate is '1e-5'; it must be a number"),
    ("teacher.train", 1, "teacher.train is 1; it must be True or False"),
    ("model.source", None, "model.source is None; it must be a text"),
    ("problems.levels", 3, "problems.levels is 3; it must be a tuple"),
    ("final.students", "hard_only", "final.students is 'hard_only'; it must be a tuple"),
    ("outer", 3, "outer is 3; it is a section and has keys of its own"),
]
# Numbers without a rule of their own, and why.
FREE_NUMBERS = {
    "promotion.threshold",  # any number: below zero it promotes students that got worse
    "mesh.population",  # the rules that tie keys check the sizes of the mesh together
    "mesh.data",
    "mesh.fsdp",
    "mesh.tensor",
}
PLACE = re.compile(r"\b(Table \d+|section \d+|[BCD]\.\d+)\b")


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_unusable_value_is_refused_with_one_line(key, value, message):
    config = method_config("soar_math").to_dict()
    *sections, name = key.split(".")
    section = config
    for each in sections:
        section = section[each]
    section[name] = value
    with pytest.raises(SettingsError, match=re.escape(message)) as refused:
        read_config(config)
    assert "\n" not in str(refused.value)


def test_whole_number_may_be_given_for_a_number():
    config = method_config("soar_math").to_dict()
    config["promotion"]["threshold"] = 1
    config["self_play"]["agreement"] = (0, 1)
    made = read_config(config)
    assert (made.promotion.threshold, made.self_play.agreement) == (1.0, (0.0, 1.0))
    assert type(made.promotion.threshold) is float
    assert {type(share) for share in made.self_play.agreement} == {float}


def test_lists_become_tuples():
    config = method_config("soar_math").to_dict()
    config["problems"]["levels"] = [6, 7]
    assert read_config(config).problems.levels == (6, 7)


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        ({"sed": 1}, "no such config key: sed; there are analysis, checkpoints, curriculum, "),
        (
            {"promotion": {"treshold": 1.0}},
            "no such config key: promotion.treshold; there are clears_window, even_median, ",
        ),
        (
            {"problems": {"fields": {"text": "t"}}},
            "no such config key: problems.fields.text; there are answer, level, ",
        ),
    ],
)
def test_unknown_key_is_refused_with_those_there_are(unknown, message):
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}") as refused:
        read_config(unknown)
    assert "\n" not in str(refused.value)


def test_every_key_and_section_has_a_help_text():
    assert all(len(key.help) > 2 for key in keys(RunConfig()))
    assert all(field.metadata["help"] for field in dataclasses.fields(RunConfig))


def fields_of(kind, prefix=""):
    """Name, type and field of each key of a section and of its own sections."""
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(types[field.name]):
            yield from fields_of(types[field.name], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, types[field.name], field


def test_every_number_has_a_rule():
    numbers = (int, float, tuple[int, ...], tuple[float, ...])
    without = {name for name, kind, field in fields_of(RunConfig) if kind in numbers and not field.metadata["rules"]}
    assert without == FREE_NUMBERS


def test_a_prompt_of_ones_own_has_several_words_or_marks():
    for prompt in ("Write one problem.", "{subject}", "Problem:"):
        values = method_config("soar_math", "llama3.2-3b").to_dict()
        values["prompts"] |= {"teacher": prompt, "subjects": ("algebra",)}
        assert read_config(values).prompts.teacher == prompt


def test_every_value_of_the_paper_names_its_place():
    assert [key.name for key in keys(RunConfig()) if key.paper and not PLACE.search(key.paper)] == []


def test_keys_are_read_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_config().outer.num_datasets = 3


@pytest.mark.parametrize("key", sorted(EXTENSION_POINTS.keys() - {"method", "model.source"}))
def test_keys_of_a_registry_accept_all_its_entries(key):
    """The type and rules of the key, without the rules that tie it to others."""
    section, _, name = key.partition(".")
    kind = type(getattr(RunConfig(), section))
    (field,) = [field for field in dataclasses.fields(kind) if field.name == name]
    assert registry(key)
    for entry in registry(key):
        value = (entry,) if isinstance(field.default, tuple) else entry
        for rule in field.metadata["rules"]:
            rule(key, value)
    unknown = ("no such name",) if isinstance(field.default, tuple) else "no such name"
    with pytest.raises(SettingsError, match=f"{key} is 'no such name'; choose one of "):
        [rule(key, unknown) for rule in field.metadata["rules"]]


@pytest.mark.parametrize(
    ("scale", "cpu", "tpu"), [("nano", "float32", "float32"), ("smollm2-135m", "float32", "bfloat16")]
)
def test_platform_settles_the_dtype_unless_it_is_given(scale, cpu, tpu):
    config = make_config(scale=scale)
    assert config.for_platform("cpu").model.dtype == cpu
    assert config.for_platform("tpu").model.dtype == tpu
    assert config.for_platform("gpu").model.dtype == tpu
    others = [{**each.to_dict(), "model": 0} for each in (config, config.for_platform("gpu"))]
    assert others[0] == others[1]
