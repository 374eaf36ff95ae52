import pytest

from configs.pretrain_nano import get_config
from soar_jax.pretraining.pretrain import pretrain
from soar_jax.settings import SettingsError


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("phases", ("prior", "second"), "phases names 'second', and the config has no section of that name"),
        ("documents_per_step", 33, "documents_per_step is 33; it must be a multiple of"),
        ("prior_prompts_per_step", 0, "prior_prompts_per_step is 0; it must be a multiple of"),
        ("longest_document_tokens", 10**6, "longest_document_tokens is 1000000; it must be"),
    ],
)
def test_a_config_that_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, key, value, message):
    config = get_config()
    config[key] = value
    with pytest.raises(SettingsError, match=message):
        pretrain(config, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("name", "message"), [("", "is a file"), ("model.safetensors", "holds a model")])
def test_what_is_there_is_not_overwritten(tmp_path, name, message):
    out = tmp_path / "model"
    if name:
        out.mkdir()
    (out / name).write_text("there")
    with pytest.raises(SettingsError, match=message):
        pretrain(get_config(), out)
    assert (out / name).read_text() == "there"
