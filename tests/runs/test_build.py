"""Configs and problems that are refused before a run or an evaluation starts."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.errors import SettingsError
from soar_jax.problems import arithmetic
from soar_jax.runs import tasks
from soar_jax.runs.build import build, check_mesh
from tests.configs import make_config


@pytest.fixture
def no_model(monkeypatch):
    """Fails a test in which a model is loaded."""

    def load(*_):
        pytest.fail("a model was loaded")

    monkeypatch.setattr("soar_jax.runs.build.load_model", load)
    monkeypatch.setattr(tasks.policies, "load", load)


@pytest.fixture
def no_signals(monkeypatch):
    """Leaves this process's signals alone."""
    monkeypatch.setattr(tasks, "Interrupts", lambda: SimpleNamespace(raise_if_stopped=lambda: None))


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
def test_a_bad_run_is_refused_before_its_model_is_loaded(no_model, name):
    changes, message = BAD[name]
    with pytest.raises(SettingsError, match=message):
        build(make_config(**changes))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_task_is_refused_before_its_policy_is_loaded(no_model, no_signals, tmp_path, name):
    changes, message = BAD[name]
    with pytest.raises(SettingsError, match=message):
        tasks.prepare(make_config(**changes), "embedded:nano", out=tmp_path / "out", unit="answers")
    assert not (tmp_path / "out").exists()


def test_sizes_of_training_must_fit_the_mesh(no_model):
    """Of a task that trains nobody they need not."""
    config = make_config(**{"final.num_replicas": 3})
    with pytest.raises(SettingsError, match=r"final.num_replicas is 3, which mesh.population = 2 does not divide"):
        build(config)
    check_mesh(config, trains=False)


@pytest.mark.parametrize("writer", ["student", "teacher"])
def test_texts_longer_than_the_models_context_are_refused(nano_model, writer):
    limit = nano_model.config.max_position_tokens
    longest = limit - max(make_config().prompts.bucket_tokens)
    build(make_config(**{f"{writer}.max_completion_tokens": longest}), nano_model)
    too_long = make_config(**{f"{writer}.max_completion_tokens": longest + 1})
    message = f"add up to {limit + 1} tokens, but the model was made for {limit}$"
    with pytest.raises(SettingsError, match=message):
        build(too_long, nano_model)
    if writer == "teacher":  # who writes nothing
        build(too_long, nano_model, trains=False)
    else:
        with pytest.raises(SettingsError, match=message):
            build(too_long, nano_model, trains=False)


def test_a_teachers_prompt_longer_than_all_buckets_is_refused(nano_model):
    """Except where nobody is trained, which needs no teacher."""
    config = make_config(**{"prompts.teacher": "1 " * 15})  # and one token that begins it
    with pytest.raises(SettingsError, match=r"a prompt has 16 tokens and the largest of prompts.bucket_tokens is 15"):
        build(config, nano_model)
    build(config, nano_model, trains=False)


def test_problems_that_are_left_out_are_counted(no_signals, tmp_path, capsys):
    problems = arithmetic.generate_problems(np.random.default_rng(0), (2, 3), 6)
    rows = [{"q": item.question, "a": item.answer, "steps": item.level} for item in problems]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "problems.source": "jsonl",
        "problems.path": str(tmp_path / "rows.jsonl"),
        "problems.fields.question": "q",
        "problems.fields.answer": "a",
        "problems.fields.level": "steps",
        "problems.levels": (2,),
        "hard_subset.num_candidates": 2,
    }
    task = tasks.prepare(make_config(**changes), "embedded:nano", out=tmp_path / "out", unit="answers")
    assert len(task.problems) == 2
    assert task.left_out == {"beyond hard_subset.num_candidates = 2": 1}
    assert "embedded:nano is asked 2 problems; left out: 1 beyond hard_subset.num_can" in capsys.readouterr().out
