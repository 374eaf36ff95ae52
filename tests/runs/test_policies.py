import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.checkpoints import base_model
from soar_jax.errors import SettingsError
from soar_jax.model import decoder, lora
from soar_jax.runs import policies
from tests.runs.saved_runs import save_run

LORA = {"lora.rank": 4, "lora.scale": 3.0, "lora.layers": ("query", "out", "down")}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run that trains whole models: its workdir, and the arrays of its newest checkpoint."""
    workdir = tmp_path_factory.mktemp("full") / "run"
    return workdir, save_run(workdir)[0]


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_runs_policies_are_those_of_its_newest_checkpoint(full):
    workdir, arrays = full
    before = files(workdir)
    student, teacher = policies.load(str(workdir), "float32"), policies.load(f"{workdir}:teacher", "float32")
    for policy, weights in ((student, arrays.best), (teacher, arrays.teacher.weights)):
        jax.tree.map(np.testing.assert_array_equal, policy.model.params, jax.device_get(weights))
        assert {type(leaf) for leaf in jax.tree.leaves(policy.model.params)} == {np.ndarray}
    assert student.name == f"{workdir}: student, promotion 1, after outer step 3"
    assert teacher.name == f"{workdir}: teacher, after outer step 3"
    assert files(workdir) == before  # reading writes nothing


def test_a_model_is_a_policy():
    policy = policies.load("embedded:nano", "float32")
    expected = base_model.load_model("embedded:nano", "float32")
    assert policy.name == "embedded:nano"
    assert policy.model.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, policy.model.params, expected.params)


@pytest.mark.slow
@pytest.mark.parametrize(("role", "dtype"), [("student", "float32"), ("teacher", "bfloat16")])
def test_adapters_are_merged_into_the_base(tmp_path, role, dtype):
    arrays, setup = save_run(tmp_path / "run", steps=(1,), **LORA, **{"model.dtype": dtype})
    adapters = arrays.best if role == "student" else arrays.teacher.weights
    loaded = policies.load(f"{tmp_path / 'run'}:{role}", "float32").model
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded.params)} == {dtype}  # as the run keeps its base
    base = base_model.load_model("embedded:nano", dtype).params
    for name, weight in base["layers"].items():
        found = loaded.params["layers"][name].astype(np.float64)
        if name not in LORA["lora.layers"]:
            np.testing.assert_array_equal(found, weight.astype(np.float64))
            continue
        a, b = (np.asarray(part, np.float64) for part in adapters["layers"][name])
        added = 3.0 * np.einsum("lir,lro->lio", a, b).reshape(weight.shape)
        assert np.abs(added).max() > 1e-3
        atol = 1e-6 if dtype == "float32" else 2**-7  # of numbers up to about 1
        np.testing.assert_allclose(found, weight.astype(np.float64) + added, atol=atol)
    if dtype == "float32":
        tokens, positions, valid = jnp.array([[5, 6, 7, 8]]), jnp.arange(4)[None], jnp.ones((1, 4), bool)
        with_adapters = lora.decoder_params(adapters, setup.sampler.frozen_base, loaded.config)
        logits = [
            decoder.logits(
                params,
                loaded.config,
                decoder.hidden_states(params, loaded.config, tokens=tokens, positions=positions, key_valid=valid)[0],
            )
            for params in (with_adapters, loaded.params)
        ]
        np.testing.assert_allclose(*logits, atol=1e-4)


def test_a_student_that_was_never_promoted_is_called_so(tmp_path):
    save_run(tmp_path / "run", steps=(1,), num_promotions=0)
    assert "student, never promoted (the base model)" in policies.load(str(tmp_path / "run"), "float32").name


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BROKEN = {
    "no checkpoint": (
        lambda run: shutil.rmtree(run / "checkpoints"),
        "has no checkpoint: the run has done no outer step",
    ),
    "no step": (lambda run: [shutil.rmtree(run / "checkpoints" / step) for step in "23"], "has no checkpoint"),
    "another version's": (lambda run: edit(run / "config.json", lora=None), "another version of soar_jax"),
    "no base": (
        lambda run: edit(run / "config.json", model={"source": "gone", "dtype": "float32"}),
        "model.source 'gone' is neither",
    ),
    "a broken checkpoint": (
        lambda run: (run / "checkpoints" / "3" / "arrays" / "manifest.ocdbt").write_text(""),
        "checkpoints/3 is broken",
    ),
}


def test_weights_that_are_not_what_was_saved_are_refused(full, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(full[0], copy)
    path = copy / "checkpoints" / "3" / "record" / "metadata"
    sums = json.loads(path.read_text())["checksums"]
    edit(path, checksums=sums | {"best/final_norm": sums["best/final_norm"] ^ 1})
    with pytest.raises(SettingsError, match=r"checkpoints/3 is broken \(ValueError: its numbers are not those"):
        policies.load(str(copy), "float32")
    policies.load(f"{copy}:teacher", "float32")  # whose own are
    edit(path, base_sha256="")
    with pytest.raises(SettingsError, match="checkpoints/3 is broken"):
        policies.load(f"{copy}:teacher", "float32")


@pytest.mark.parametrize("name", BROKEN)
def test_a_policy_that_cannot_be_read_is_one_line(full, tmp_path, name):
    copy = tmp_path / "run"
    shutil.copytree(full[0], copy)
    damage, message = BROKEN[name]
    damage(copy)
    with pytest.raises(SettingsError, match=message):
        policies.load(str(copy), "float32")


def test_other_weights_under_the_bases_name_are_refused(full, tmp_path):
    copy, base = tmp_path / "run", tmp_path / "base"
    shutil.copytree(full[0], copy)
    shutil.copytree(base_model.EMBEDDED_FOLDER, base)
    edit(copy / "config.json", model={"source": str(base), "dtype": "float32"})
    policies.load(str(copy), "float32")
    path = base / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="holds other weights than when"):
        policies.load(str(copy), "float32")


def test_a_role_without_a_run_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="is no run's workdir, so it has no teacher"):
        policies.load(f"{tmp_path}:teacher", "float32")
    with pytest.raises(SettingsError, match="neither 'embedded:nano', nor a folder"):
        policies.load("no/such/folder", "float32")
