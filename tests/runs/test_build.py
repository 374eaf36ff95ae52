"""What is refused before a run or a question costs anything."""

import json
from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from configs.soar_math import get_config
from soar_jax.checkpoints.base_model import load_model
from soar_jax.problems import arithmetic
from soar_jax.settings import SettingsError
from soar_jax.runs import tasks
from soar_jax.runs import build as setups


@pytest.fixture(scope="module")
def base():
    return load_model("embedded:nano", "float32")


@pytest.fixture
def no_model(monkeypatch):
    """Fails a test in which a model is loaded."""

    def load(*_):
        pytest.fail("a model was loaded")

    monkeypatch.setattr(setups, "load_model", load)
    monkeypatch.setattr(tasks.policies, "load", load)


@pytest.fixture
def no_signals(monkeypatch):
    """Leaves this process's signals alone."""
    monkeypatch.setattr(tasks, "Interrupts", lambda: SimpleNamespace(raise_if_told=lambda: None))


def changed(changes):
    config = get_config()
    config.update_from_flattened_dict(changes)
    return ml_collections.FrozenConfigDict(config)


BAD = {
    "mesh": ({"mesh.population": 3}, "mesh.population=3, .* 3 devices are needed, but JAX sees 2"),
    "another kernel": ({"model.attention": "splash"}, "model.attention is 'splash', a kernel of the platform 'tpu'"),
    "no extractor": ({"grading.extraction": ()}, "grading.extraction is empty; name at least one extractor"),
    "unknown extractor": ({"grading.extraction": ("boxd",)}, "grading.extraction is 'boxd'; choose one of"),
    "unknown equivalence": ({"grading.equivalence": "maths"}, "grading.equivalence is 'maths'; choose one of"),
    "no workers": ({"grading.num_workers": 0}, "grading.num_workers is 0; it must be at least 1"),
    "no time": ({"grading.deadline_s": 0.0}, "grading.deadline_s is 0.0; it must be more than 0"),
    "no subjects": (
        {"prompts.teacher": "a problem of {subject}"},
        "prompts.teacher holds {subject}, but prompts.subjects is empty",
    ),
    "unknown format": ({"prompts.teacher_format": "xml"}, "prompts.teacher_format is 'xml'; choose one of"),
    "a rank below none": ({"lora.rank": -1}, "lora.rank is -1; it must be 0"),
    "unknown layers": ({"lora.layers": ("queries",)}, "lora.layers is 'queries'; choose one of"),
    "unknown advantage": ({"inner.advantage": "ppo"}, "inner.advantage is 'ppo'; choose one of"),
    "a key of the method": ({"outer.num_datasets": 0}, "outer.num_datasets is 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_run_that_cannot_be_is_refused_before_its_model_is_loaded(no_model, name):
    changes, message = BAD[name]
    with pytest.raises(SettingsError, match=message):
        setups.build(changed(changes))


@pytest.mark.parametrize("name", BAD)
def test_a_policy_that_cannot_be_asked_is_refused_before_it_is_loaded(no_model, no_signals, tmp_path, name):
    changes, message = BAD[name]
    with pytest.raises(SettingsError, match=message):
        tasks.prepare(changed(changes), "embedded:nano", out=tmp_path / "out", unit="answers")
    assert not (tmp_path / "out").exists()


def test_numbers_that_the_mesh_does_not_divide_are_refused_in_training_alone(no_model):
    config = changed({"final.num_replicas": 3})
    with pytest.raises(SettingsError, match=r"final.num_replicas is 3, which mesh.population = 2 does not divide"):
        setups.build(config)
    setups.check(config, trains=False)


@pytest.mark.parametrize("writer", ["student", "teacher"])
def test_texts_longer_than_the_model_was_made_for_are_refused(base, writer):
    limit = base.config.max_position_tokens
    config = get_config()
    longest = limit - max(config.prompts.bucket_tokens)
    setups.build(changed({f"{writer}.max_completion_tokens": longest}), base)
    too_long = changed({f"{writer}.max_completion_tokens": longest + 1})
    message = f"add up to {limit + 1} tokens, but the model was made for {limit}$"
    with pytest.raises(SettingsError, match=message):
        setups.build(too_long, base)
    if writer == "teacher":  # who is not asked
        setups.build(too_long, base, trains=False)
    else:
        with pytest.raises(SettingsError, match=message):
            setups.build(too_long, base, trains=False)


def test_a_teachers_prompt_longer_than_all_buckets_is_refused_where_there_is_a_teacher(base):
    config = changed({"prompts.teacher": "1 " * 15})  # and one that begins it
    with pytest.raises(SettingsError, match=r"a prompt has 16 tokens and the largest of prompts.bucket_tokens is 15"):
        setups.build(config, base)
    setups.build(config, base, trains=False)


def test_problems_that_are_not_asked_are_counted(no_signals, tmp_path, capsys):
    problems = arithmetic.generate_problems(np.random.default_rng(0), (2, 3), 6)
    rows = [{"q": item.question, "a": item.answer, "steps": item.level} for item in problems]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "problems.source": "jsonl",
        "problems.path": str(tmp_path / "rows.jsonl"),
        "problems.levels": (2,),
        "hard_subset.num_candidates": 2,
    }
    fields = {
        f"problems.fields.{name}": key for name, key in {"question": "q", "answer": "a", "level": "steps"}.items()
    }
    asked = tasks.prepare(changed(changes | fields), "embedded:nano", out=tmp_path / "out", unit="answers")
    assert len(asked.problems) == 2
    assert asked.left_out == {"beyond hard_subset.num_candidates = 2": 1}
    assert "embedded:nano is asked 2 problems; left out: 1 beyond hard_subset.num_can" in capsys.readouterr().out
