import json
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub import errors

from soar_jax.checkpoints import base_model, config_json, hugging_face
from soar_jax.checkpoints.safetensors_folder import SafetensorsFolder
from soar_jax.errors import SettingsError
from soar_jax.model import decoder


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "nano"
    shutil.copytree(base_model.EMBEDDED_FOLDER, copy)
    return copy


def test_saved_parameters_load_again_exactly(tmp_path, tiny_model, tiny_params):
    raw = config_json.to_hugging_face(tiny_model, bos_id=1, eos_id=2, pad_id=0)
    hugging_face.save_params(tmp_path, tiny_params, config=tiny_model, raw_config=raw)
    assert hugging_face.read_config(tmp_path, "float32") == tiny_model
    loaded = hugging_face.load_params(SafetensorsFolder(tmp_path), tiny_model, "float32")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(tiny_params), loaded)


def test_the_embedded_model_has_the_logits_of_transformers():
    torch = pytest.importorskip("torch", reason="torch is not installed: the parity with transformers is not checked")
    from transformers import AutoModelForCausalLM

    base = base_model.load_model(base_model.EMBEDDED, "float32")
    theirs = AutoModelForCausalLM.from_pretrained(str(base_model.EMBEDDED_FOLDER), dtype=torch.float32)
    tokens = np.random.default_rng(0).integers(4, base.config.vocab_size, (3, 20))
    ours, _ = decoder.hidden_states(
        base.params,
        base.config,
        tokens=jnp.array(tokens),
        positions=jnp.tile(jnp.arange(20), (3, 1)),
        key_valid=jnp.ones((3, 20), bool),
    )
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    np.testing.assert_allclose(decoder.logits(base.params, base.config, ours), expected, atol=2e-4)


def test_a_missing_folder_is_named():
    with pytest.raises(SettingsError, match="neither 'embedded:nano', nor a folder"):
        base_model.load_model("no/such/folder", "float32")


def test_missing_weights_are_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"no model.safetensors in .*fetch the checkpoint again"):
        base_model.load_model(str(folder), "float32")


@pytest.mark.parametrize("kept", [0, 7, 100, 100_000])
def test_truncated_weights_are_refused(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SettingsError, match=r"is broken.*fetch the checkpoint again"):
        base_model.load_model(str(folder), "float32")


def test_a_tensor_of_another_shape_is_refused(folder):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"intermediate_size": 128}))
    with pytest.raises(SettingsError, match=r"tensor .*mlp.* has shape .* config.json implies"):
        base_model.load_model(str(folder), "float32")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type 'bert' is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"attention_bias": True}, "sets 'attention_bias' to True"),
        ({"hidden_size": "x"}, "a value that is no size"),
        ({"hidden_size": 1e999}, "a value that is no size"),
        ({"vocab_size": 10**12}, "a value that is no size"),
        ({"rope_theta": 1e999}, "a value that is no size"),
        ({"rope_scaling": {"type": "linear", "factor": 1e999}}, "a value that is no size"),
        ({"num_hidden_layers": 2**31, "intermediate_size": 2**31}, "more than this host's memory holds"),
        ({"num_hidden_layers": 0}, "a value that is no size"),
        ({"num_attention_heads": 0, "head_dim": None}, "a value that is no size"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope_type 'longrope' is not supported"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
            "config.json lacks 'original_max_position_embeddings'",
        ),
        ({"rope_scaling": {"type": "linear"}}, "config.json lacks 'factor'"),
        ({"final_logit_softcapping": 30.0}, "sets 'final_logit_softcapping' to 30.0, which is not supported"),
        ({"use_bidirectional_attention": True}, "sets 'use_bidirectional_attention' to True"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "quantised tensors cannot be read"),
    ],
)
def test_unsupported_architectures_are_refused(folder, change, message):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | change))
    with pytest.raises(SettingsError, match=message):
        base_model.load_model(str(folder), "float32")


def test_a_broken_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(SettingsError, match="cannot load the tokenizer"):
        base_model.load_model(str(folder), "float32")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, b"\xff\xfe", b"\xef\xbb\xbf{}"])
def test_invalid_json_is_refused(folder, name, text):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=rf"{name} holds no JSON object"):
        base_model.load_model(str(folder), "float32")


def test_a_tokenizer_may_have_more_ids_than_the_model(folder):
    """As Gemma 3's, whose last token stands for images."""
    loaded = base_model.load_model(str(folder), "float32")
    size = loaded.config.vocab_size
    number = len(loaded.tokenizer.backend)
    assert number <= size
    tokens = [f"<extra{index}>" for index in range(size + 1 - number)]
    loaded.tokenizer.backend.add_tokens(tokens)
    loaded.tokenizer.backend.save_pretrained(str(folder))
    tokenizer = base_model.load_model(str(folder), "float32").tokenizer
    assert len(tokenizer.backend) == size + 1
    with pytest.raises(SettingsError, match=f"a prompt has the token '{tokens[-1]}' with id {size}, but the model"):
        tokenizer.encode_prompt(tokens[-1])


def test_a_tokenizer_that_fails_at_first_use_is_one_line(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": "x"}))
    with pytest.raises(SettingsError, match=r"the tokenizer in .* is broken"):
        base_model.load_model(str(folder), "float32")


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"weight_map": {}}',
        '{"weight_map": {"model.norm.weight": "../model.safetensors"}}',
        '{"weight_map": {"model.norm.weight": 7}}',
    ],
)
def test_a_broken_index_of_shards_is_refused(folder, index):
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(SettingsError, match=r"index.json (is broken|holds no JSON object); fetch the checkpoint again"):
        base_model.load_model(str(folder), "float32")


def test_a_missing_shard_or_tensor_is_named(folder):
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"model.norm.weight": "a.safetensors"}}')
    with pytest.raises(SettingsError, match=r"no a\.safetensors in"):
        base_model.load_model(str(folder), "float32")
    index.write_text('{"weight_map": {"model.norm.weight": "model.safetensors"}}')
    with pytest.raises(SettingsError, match=r"tensor model.embed_tokens.weight is not in"):
        base_model.load_model(str(folder), "float32")


@pytest.mark.parametrize(("dtype", "name_there"), [(np.int8, "I8"), (ml_dtypes.float8_e4m3fn, "F8_E4M3")])
def test_quantised_weights_are_refused(folder, dtype, name_there):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    safetensors.numpy.save_file(tensors | {name: tensors[name].astype(dtype)}, folder / "model.safetensors")
    with pytest.raises(SettingsError, match=f"tensor {name} is of {name_there}"):
        base_model.load_model(str(folder), "float32")


@pytest.mark.parametrize("name", ["runs/llama--lr1e-6", "some/repository.git"])
def test_an_invalid_hub_id_is_one_line(name):
    with pytest.raises(SettingsError, match=f"model.source '{name}' is no local folder, and no name"):
        base_model.load_model(name, "float32")


UNREACHABLE = (
    "model.source 'a/b' is no local folder and the hub cannot be reached ({}); check the network, or give a folder"
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errors.GatedRepoError,
            "model.source 'a/b' is gated: accept its licence on its page at huggingface.co, then log in with "
            "`hf auth login`",
        ),
        (errors.HFValidationError, "model.source 'a/b' is no local folder, and no name of a model on the hub"),
        (errors.RepositoryNotFoundError, "there is no model 'a/b' on the hub, or your account cannot see it"),
        (errors.HfHubHTTPError, UNREACHABLE.format("HfHubHTTPError")),
        (errors.RevisionNotFoundError, UNREACHABLE.format("RevisionNotFoundError")),
        (TimeoutError, UNREACHABLE.format("TimeoutError")),
        (RuntimeError, UNREACHABLE.format("RuntimeError")),  # from an HTTP client
        (errors.LocalEntryNotFoundError, UNREACHABLE.format("LocalEntryNotFoundError")),
        (ConnectionError, UNREACHABLE.format("ConnectionError")),
    ],
)
def test_errors_of_the_hub_are_one_line(monkeypatch, error, message):
    def download(*args, **named):
        raise error.__new__(error)  # skips __init__: some want an HTTP response

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(SettingsError) as raised:
        base_model.load_model("a/b", "float32")
    assert str(raised.value) == message
