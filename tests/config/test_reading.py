"""From a ConfigDict or a saved `config.json` to the typed config."""

import dataclasses
import json
from typing import get_type_hints

import ml_collections
import pytest
from absl import flags

from soar_jax.config import method_config, read_config
from soar_jax.config.reading import one_line_errors
from soar_jax.config.run_config import RunConfig
from soar_jax.config.saved import as_json, differing_keys, execution_only_keys, identity_of, with_legacy_values
from soar_jax.errors import SettingsError
from tests.configs import make_config

# Execution-only keys of all versions: runs were saved and resumed with other values of these.
EXECUTION_ONLY = {
    "mesh",
    "sampling",
    "checkpoints",
    "tracking",
    "inner.students_at_once",
    "inner.update_batch",
    "analysis.saved_completions",
    "evaluation.problems_per_call",
    "grading.num_workers",
    "model.attention",
    "teacher.max_draws",
    *(
        f"{policy}.{key}"
        for policy in ("student", "teacher")
        for key in ("rows_per_micro_batch", "logprob_chunk_tokens", "completion_buckets", "remat")
    ),
}


def newer_keys():
    """Section, name and legacy value of each key of a run's config that has one."""
    for field in dataclasses.fields(RunConfig):
        if field.metadata["legacy"] is not None:
            yield "", field.name, field.metadata["legacy"]
        kind = get_type_hints(RunConfig)[field.name]
        for each in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
            if each.metadata["legacy"] is not None:
                yield field.name, each.name, each.metadata["legacy"]


@pytest.fixture
def config():
    return make_config()


@pytest.fixture
def saved(config):
    """The config as a workdir's `config.json` gives it back."""
    return json.loads(json.dumps(config.to_dict()))


def test_config_dicts_of_all_kinds_are_read_alike(config):
    given = method_config("soar_math")
    assert read_config(ml_collections.FrozenConfigDict(given)) == config
    assert read_config(given.to_dict()) == config
    assert read_config(config.to_dict()) == config


def test_missing_keys_have_the_papers_defaults():
    assert read_config({}) == RunConfig()


def test_execution_only_keys_are_those_of_before():
    assert execution_only_keys(RunConfig) == EXECUTION_ONLY


def test_identity_lacks_execution_only_keys(config):
    given, kept = config.to_dict(), config.identity()
    assert given.keys() - kept.keys() == {"mesh", "sampling", "checkpoints", "tracking"}
    assert given["grading"].keys() - kept["grading"].keys() == {"num_workers"}
    assert kept["lora"] == {"rank": 0}  # the rest has no effect
    for section in kept.keys() - {"lora"}:
        if isinstance(kept[section], dict):
            dropped = {f"{section}.{key}" for key in given[section].keys() - kept[section].keys()}
            assert dropped == {key for key in EXECUTION_ONLY if key.startswith(f"{section}.")}


def test_identity_of_a_saved_config_is_that_of_the_config(config, saved):
    assert identity_of(saved) == as_json(config.identity())


def test_saved_config_equals_its_own(config, saved):
    assert read_config(saved) == config
    assert differing_keys(saved, config, identity_only=True) == []
    assert differing_keys(saved, config, identity_only=False) == []


@pytest.mark.parametrize(("rank", "different"), [(0, []), (4, ["lora.learning_rate_scale"])])
def test_an_old_learning_rate_differs_only_with_adapters(rank, different):
    """And nano's importance weights were off before there were any."""
    config = make_config(**{"lora.rank": rank})
    saved = as_json(config.to_dict())
    for section, key in (("lora", "learning_rate_scale"), ("student", "importance_cap"), ("teacher", "importance_cap")):
        del saved[section][key]
    assert differing_keys(saved, config, identity_only=True) == different


def test_an_older_runs_own_buckets_do_not_differ(config, saved):
    """They were tuples of lengths, and change no result."""
    for policy in ("student", "teacher"):
        del saved[policy]["completion_buckets"]
        saved[policy]["bucket_tokens"] = [256, 512]
    assert differing_keys(saved, config, identity_only=True) == []


def test_differing_keys_are_named(config, saved):
    saved["promotion"]["window"] = 7
    saved["sampling"]["max_slots"] = 3
    saved["seed"] = 5
    assert differing_keys(saved, config, identity_only=True) == ["promotion.window", "seed"]
    assert differing_keys(saved, config, identity_only=False) == ["promotion.window", "sampling.max_slots", "seed"]


@pytest.mark.parametrize("damage", [None, [], "text", 3])
def test_saved_config_that_is_no_object_differs_in_all(config, damage):
    assert "seed" in differing_keys(damage, config, identity_only=True)


def test_an_older_saved_config_has_what_runs_did_then(config, saved):
    saved["curriculum"]["schedule"] = "then_hard"  # of this scale then
    for section, key, _ in newer_keys():
        del (saved[section] if section else saved)[key]
    filled = with_legacy_values(saved)
    for section, key, legacy in newer_keys():
        assert (filled[section] if section else filled)[key] == legacy
    assert read_config(filled).student.reward == "right"
    assert "student.schedule" not in differing_keys(saved, config, identity_only=True)  # constant, as in this scale


def test_legacy_values_are_not_the_defaults_of_new_runs(config, saved):
    """A missing key is what runs did then; one that is there is compared."""
    saved["promotion"]["rule"] = "other"
    assert differing_keys(saved, config, identity_only=True) == ["promotion.rule"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("Did you mean 'threshold'?\nmore"), "no such config key: Did you mean 'threshold'? more"),
        (AttributeError("no 'treshold'"), "no such config key: no 'treshold'"),
        (AttributeError(KeyError("'treshold'\nmore")), "no such config key: 'treshold' more"),
        (flags.Error("Unknown flag"), "Unknown flag"),
        (ValueError("first\nsecond"), "first second"),
        (TypeError(), "TypeError"),
        (ImportError("Traceback (most recent call last):\n  File x\nSettingsError: no scale"), "no scale"),
        (OSError("Traceback (most recent call last):\n  File x\nNameError: name 'y'"), "NameError: name 'y'"),
    ],
)
def test_errors_of_config_files_are_one_line(error, message):
    with pytest.raises(SettingsError) as raised, one_line_errors():
        raise error
    assert str(raised.value) == message


def test_unforeseen_errors_keep_their_kind():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError
