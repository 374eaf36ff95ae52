import pytest

from soar_jax.errors import SettingsError
from soar_jax.pretraining.pretrain import pretrain
from tests.configs import pretrain_config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("phases", ("prior", "second"), "phases names 'second', and the config has no section of that name"),
        ("documents_per_step", 33, "documents_per_step is 33; it must be a multiple of"),
        ("prior_prompts_per_step", 0, "prior_prompts_per_step is 0; it must be a multiple of"),
        ("longest_document_tokens", 10**6, "longest_document_tokens is 1000000; it must be"),
        ("phases", (), "phases is empty; name at least one section"),
        ("worked_mirror", 1.5, "worked_mirror is 1.5; it must be 0 to 1"),
        ("model.norm_eps", 0.0, "model.norm_eps is 0.0; it must be more than 0"),
        ("skill.peak_learning_rate", -1.0, "skill.peak_learning_rate is -1.0; it must be more than 0"),
        ("skill.exam_dial.level_weights", (0.0,) * 8, "give 8 weights of 0 or more, not all of them 0"),
        ("skill.exam_dial.worked", (0.5,) * 7, "give 8 probabilities, each 0 to 1"),
        ("skill.teacher_dial.right", (1.1,) * 8, "give 8 probabilities, each 0 to 1"),
        ("prior.worked_prior", (0.0,) * 8, "give 8 probabilities, each above 0 and at most 1, or none"),
        ("prior.worked_prior", ("x",) * 8, r"prior.worked_prior\[0\] is 'x'; it must be a number"),
    ],
)
def test_bad_config_is_refused(tmp_path, key, value, message):
    """A config that cannot be trained is refused before anything is written."""
    with pytest.raises(SettingsError, match=message):
        pretrain(pretrain_config(**{key: value}), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("name", "message"), [("", "is a file"), ("model.safetensors", "holds a model")])
def test_existing_output_is_not_overwritten(tmp_path, name, message):
    out = tmp_path / "model"
    if name:
        out.mkdir()
    (out / name).write_text("there")
    with pytest.raises(SettingsError, match=message):
        pretrain(pretrain_config(), out)
    assert (out / name).read_text() == "there"
