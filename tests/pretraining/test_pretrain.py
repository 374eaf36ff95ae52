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
