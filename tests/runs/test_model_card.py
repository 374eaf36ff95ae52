"""The model cards of exported policies."""

import json
from types import SimpleNamespace

import pytest
from etils import epath
from huggingface_hub import ModelCard

from soar_jax.checkpoints import hub
from soar_jax.runs.model_card import model_card
from soar_jax.runs.policies import Policy
from tests.configs import make_config


def policy(workdir=None, role="", template=None):
    backend = SimpleNamespace(chat_template=template)
    model = SimpleNamespace(tokenizer=SimpleNamespace(backend=backend))
    return Policy(model=model, name="", workdir=workdir, role=role)


@pytest.fixture
def workdir(tmp_path):
    """A finished run whose base model and problems are folders of its author's machine."""
    folder = tmp_path / "secret_home" / "run"
    folder.mkdir(parents=True)
    base = tmp_path / "secret_home" / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: llama3.2\nlicense_link: [1]\n---\n# Base\n")
    config = make_config(
        **{"model.source": str(base), "source_run": f"{tmp_path}/secret_home/older", "num_outer_steps": 0}
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    tests = {"student_steps": 0, "hard_test": {"pass@1": 0.125, "pass@4": 0.5, "num_problems": 14}}
    (folder / "summary.json").write_text(json.dumps({"policies": {"base": tests, "promoted_student": tests}}))
    return epath.Path(folder)


def test_the_card_of_a_run_says_what_it_is(workdir):
    text = model_card(f"{workdir}:student", policy(workdir, "student, promotion 2, after outer step 9"), "me/tiny")
    data = ModelCard(text).data.to_dict()
    assert data == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "llama3.2",
        "tags": ["soar", "soar_jax", "arxiv:2601.18778"],
    }
    assert "# tiny\n" in text
    assert "the student, promotion 2, after outer step 9" in text
    assert "| base model | `base` |" in text
    assert "| 14 hard test problems | pass@1 | pass@4 |\n|---|---|---|\n| `base` | 12.5 | 50.0 |" in text
    assert "This model is `promoted_student`." in text
    assert 'from_pretrained("me/tiny")' in text
    saved = json.loads(text.partition("```json\n")[2].partition("\n```")[0])
    assert saved["outer"] == json.loads((workdir / "config.json").read_text())["outer"]
    assert (saved["model"]["source"], saved["source_run"]) == ("base", "older")


def test_no_folder_of_the_machine_is_told(workdir):
    assert "secret_home" not in model_card(str(workdir), policy(workdir, "teacher, after outer step 9"), "tiny")


@pytest.mark.parametrize(
    "summary", [None, "{", "[]", '{"policies": {"base": 3}}', '{"policies": {"a": {"hard_test": {}}}}']
)
def test_a_run_without_results_says_so(workdir, summary):
    (workdir / "summary.json").unlink()
    if summary is not None:
        (workdir / "summary.json").write_text(summary)
    text = model_card(str(workdir), policy(workdir, "teacher, after outer step 9"), "tiny")
    assert "The run was not finished when this was written, so it has none." in text


@pytest.mark.parametrize(
    ("front", "found"),
    [
        ({"license": "mit"}, {"license": "mit"}),
        (
            {"license": "other", "license_name": "own", "license_link": "https://example.org/l", "tags": ["x"]},
            {"license": "other", "license_name": "own", "license_link": "https://example.org/l"},
        ),
        ({"license": ["mit"]}, {"license": "unknown"}),
        ({"license": "x\n---\nowner: me"}, {"license": "unknown"}),
        ({"license_name": "own"}, {"license": "unknown"}),
        ({}, {"license": "unknown"}),
    ],
)
def test_the_licence_is_that_of_the_base_model(monkeypatch, front, found):
    monkeypatch.setattr(hub, "card_data", lambda _: front)
    text = model_card("owner/base", policy(template="{{ x }}"), "tiny")
    data = ModelCard(text).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == found
    assert data["base_model"] == "owner/base"
    assert ("Unknown: the files of the base model name none" in text) == (found["license"] == "unknown")
    assert "The tokenizer has a chat template." in text
    assert "It was not trained further" in text
