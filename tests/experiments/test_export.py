"""Exported folders, read again here and by transformers."""

import dataclasses
import json

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.checkpoints import base_model, export
from soar_jax.errors import SettingsError
from soar_jax.model import decoder, parameters
from soar_jax.model.rounding import cast_params
from soar_jax.runs import policies
from tests.checkpoints import test_gguf_file as gguf_files
from tests.experiments.runs import run_program
from tests.runs.saved_runs import save_run

TEXTS = ["exam 7 dial 3 ?", "teacher", "exam 1 2 3 ? 4 = 5"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs of runs with a trained teacher and student: of whole models, and of adapters."""
    folder = tmp_path_factory.mktemp("runs")
    save_run(folder / "full", steps=(1,))
    save_run(folder / "lora", steps=(1,), **{"lora.rank": 4})
    return folder


@pytest.fixture(scope="module")
def program(runs, tmp_path_factory):
    """Runs export.py on a policy of `runs` in this process; the new folder and what was printed."""

    def run(policy, *flags):
        out = tmp_path_factory.mktemp("exported") / "model"
        code, printed, err = run_program("export", f"--model={runs / policy}", f"--out={out}", *flags)
        assert code == 0, err
        return out, printed

    return run


def ours(model, tokens):
    positions = jnp.tile(jnp.arange(tokens.shape[1]), (len(tokens), 1))
    valid = jnp.ones(tokens.shape, bool)
    hidden, _ = decoder.hidden_states(
        model.params, model.config, tokens=jnp.array(tokens), positions=positions, key_valid=valid
    )
    return np.asarray(decoder.logits(model.params, model.config, hidden))


def check_transformers(folder, model, tolerance=1e-5):
    """The folder in transformers computes what `model` does, up to float32 rounding, and reads text alike."""
    torch = pytest.importorskip("torch", reason="torch is not installed: the parity with transformers is not checked")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (3, 20))
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    assert np.abs(ours(model, tokens) - expected).max() <= tolerance * np.abs(expected).max()
    stops = theirs.generation_config.eos_token_id
    assert set(stops if isinstance(stops, list) else [stops]) == set(model.tokenizer.stop_ids)
    assert theirs.generation_config.pad_token_id == model.tokenizer.pad_id
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == model.tokenizer.backend(text, add_special_tokens=False)["input_ids"]


def check_same(folder, model):
    """The folder loads here as the very same model."""
    again = base_model.load_model(str(folder), model.config.dtype)
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    for name in ("bos_id", "eos_id", "pad_id", "vocab_size", "stop_ids", "adds_bos"):
        assert getattr(again.tokenizer, name) == getattr(model.tokenizer, name)
    for text in TEXTS:
        assert again.tokenizer.encode_prompt(text) == model.tokenizer.encode_prompt(text)


@pytest.mark.parametrize("policy", ["full", "lora:teacher"])
def test_a_runs_policy_is_the_same_model_elsewhere(runs, tmp_path, policy):
    model = policies.load(str(runs / policy), "float32").model
    base = base_model.load_model("embedded:nano", "float32")
    assert not np.array_equal(model.params["layers"]["down"], base.params["layers"]["down"])
    export.save(model, tmp_path / "model", "float32")
    check_same(tmp_path / "model", model)
    check_transformers(tmp_path / "model", model)


@pytest.mark.parametrize("policy", ["full:teacher", "lora"])
def test_the_program_writes_a_runs_policy(runs, program, policy):
    out, printed = program(policy)
    model = policies.load(str(runs / policy), "float32").model
    assert f"written to {out} in float32" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["model"]
    check_same(out, model)
    check_transformers(out, model)


def test_weights_are_rounded_where_that_is_asked_for(runs, program):
    out, printed = program("lora", "--dtype=bfloat16")
    assert f"written to {out} in bfloat16" in printed
    model = policies.load(str(runs / "lora"), "float32").model
    again = base_model.load_model(str(out), "float32")
    computed_with = cast_params(model.params, "bfloat16")  # by the run's programs in bfloat16
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float32)), again.params, computed_with)
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert export.smallest_dtype(model.params) == "float32"
    assert export.smallest_dtype(again.params) == "bfloat16"


def test_a_gguf_file_keeps_its_chat_template(tmp_path):
    weights = gguf_files.tensors(np.random.default_rng(0))
    # Large weights would make much of rounding.
    small = {name: array * (0.05 if array.ndim == 2 else 1) for name, array in weights.items()}
    path = gguf_files.write(tmp_path / "m.gguf", small, pre="llama-bpe")
    model = base_model.load_model(str(path), "float32")
    export.save(model, tmp_path / "model", "float32")
    check_same(tmp_path / "model", model)
    again = base_model.load_model(str(tmp_path / "model"), "float32").tokenizer
    chat = model.tokenizer.chat("the 12 é", "be kind")
    assert again.chat("the 12 é", "be kind") == chat
    assert again.encode_prompt(chat) == model.tokenizer.encode_prompt(chat)
    check_transformers(tmp_path / "model", model, tolerance=1e-4)  # random blocks make large activations


def test_several_stop_tokens_stay_stop_tokens(tmp_path):
    model = base_model.load_model("embedded:nano", "float32")
    model = dataclasses.replace(model, tokenizer=dataclasses.replace(model.tokenizer, stop_ids=(2, 7)))
    export.save(model, tmp_path / "model", "float32")
    check_same(tmp_path / "model", model)


@pytest.mark.slow
def test_gemma_names_its_activation_as_other_engines_do(tmp_path):
    """Their loaders of Gemma 3 compute the tanh approximation of GELU under this name alone."""
    base = base_model.load_model("embedded:nano", "float32")
    changes = {"num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "d_model": 32, "hidden_dim": 48}
    fields = {"has_qk_norm": True, "has_post_norms": True, "norm_plus_one": True, "scale_embeddings": True}
    windows = {"window_tokens": 4, "layers_with_window": (0,), "window_rope_theta": 1e4, "query_scale": 8**-0.5}
    config = dataclasses.replace(
        base.config, family="gemma3_text", activation="gelu", tie_embeddings=True, **changes, **fields, **windows
    )
    params = jax.tree.map(np.asarray, parameters.init_params(config, jax.random.key(0)))
    model = dataclasses.replace(base, config=config, params=params)
    export.save(model, tmp_path / "model", "float32")
    raw = json.loads((tmp_path / "model" / "config.json").read_text())
    assert raw["hidden_activation"] == "gelu_pytorch_tanh"
    assert "hidden_act" not in raw
    check_same(tmp_path / "model", model)
    check_transformers(tmp_path / "model", model)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--push_to_hub=tiny"], "--push_to_hub=tiny is no name of a model on the hub; give OWNER/NAME"),
        (["--private"], "--private is of the model of --push_to_hub; give that too"),
    ],
)
def test_a_name_that_cannot_be_on_the_hub_is_refused_first(tmp_path, flags, message):
    code, _, err = run_program("export", "--model=embedded:nano", f"--out={tmp_path / 'model'}", *flags)
    assert (code, err) == (2, f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_push_without_a_token_leaves_the_folder_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    out = tmp_path / "model"
    code, printed, err = run_program("export", "--model=embedded:nano", f"--out={out}", "--push_to_hub=me/tiny")
    assert code == 2
    assert err.startswith("error: the hub wants a token")
    assert err.count("\n") == 1
    assert "uploaded" not in printed
    check_same(out, base_model.load_model("embedded:nano", "float32"))
    assert "# tiny\n" in (out / "README.md").read_text()


def test_a_folder_that_holds_something_is_kept(tmp_path):
    (tmp_path / "notes").write_text("mine")
    code, _, err = run_program("export", "--model=embedded:nano", f"--out={tmp_path}")
    assert code == 2
    assert err == f"error: --out={tmp_path} is not empty; choose another folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_bucket_is_refused():
    code, _, err = run_program("export", "--model=embedded:nano", "--out=gs://bucket/student")
    assert code == 2
    assert err == "error: gs://bucket/student: only a path on this machine's disks is supported here\n"


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    model = base_model.load_model("embedded:nano", "float32")

    def full_disk(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model.tokenizer.backend, "save_pretrained", full_disk)
    with pytest.raises(SettingsError, match="No space left on device"):
        export.save(model, tmp_path / "model", "float32")
    assert not list(tmp_path.iterdir())
