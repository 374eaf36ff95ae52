import json
import os
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from soar_jax.checkpoints.base_model import params_sha256
from soar_jax.errors import SettingsError
from soar_jax.storage import run_checkpoints
from soar_jax.storage.run_checkpoints import Checkpoints
from tests.configs import make_config
from tests.conftest import ROOT
from tests.runs.saved_runs import save_run


def arrays_of(step):
    rng = np.random.default_rng(step)
    weights = jnp.asarray(rng.normal(size=(64, 32)), jnp.float32)
    return {"weights": weights, "half": weights.astype(jnp.bfloat16), "count": jnp.int32(step)}


def save(folder, steps, **options):
    checkpoints = Checkpoints(folder, **{"keep": 3} | options)
    for step in steps:
        checkpoints.save(step, arrays_of(step), {"step": step, "share": 0.1})
    checkpoints.close()


def restore(folder, like=None):
    """Restores as a new process would; returns the result and the lines that it says."""
    lines = []
    checkpoints = Checkpoints(folder, keep=3)
    try:
        return checkpoints.restore_newest(arrays_of(0) if like is None else like, lines.append), lines
    finally:
        checkpoints.close()


def steps_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three") / "checkpoints"
    save(folder, [1, 2, 3])
    return folder


@pytest.fixture
def copy(three, tmp_path):
    return shutil.copytree(three, tmp_path / "checkpoints")


def check_is(found, step):
    assert found[0] == step
    assert found[2] == {"step": step, "share": 0.1}
    jax.tree.map(np.testing.assert_array_equal, found[1], arrays_of(step))


def test_the_newest_is_restored(three):
    found, lines = restore(three)
    check_is(found, 3)
    assert lines == []


def test_nothing_was_saved(tmp_path):
    assert restore(tmp_path / "checkpoints") == (None, [])


def largest(folder):
    files = [path for path in (folder / "arrays").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_record(step, **changes):
    path = step / "record" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "an empty folder": lambda step: [shutil.rmtree(step), step.mkdir()],
    "no arrays": lambda step: shutil.rmtree(step / "arrays"),
    "no record": lambda step: shutil.rmtree(step / "record"),
    "a cut manifest": lambda step: (step / "arrays" / "manifest.ocdbt").write_bytes(b""),
    "cut data": lambda step: os.truncate(largest(step), 1000),
    "one flipped bit": lambda step: flip(largest(step)),
    "another record": lambda step: change_record(step, share=0.2),
    "another version's sums": lambda step: change_record(step, checksums=[1, 2]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_broken_checkpoint_is_renamed_and_skipped(copy, name):
    DAMAGES[name](copy / "3")
    found, lines = restore(copy)
    check_is(found, 2)
    assert len(lines) == 1
    assert lines[0].startswith("checkpoint 3 is broken (")
    assert lines[0].endswith("going on from checkpoint 2")
    first, second, aside = steps_in(copy)
    assert (first, second) == ("1", "2")
    assert aside.startswith("3.broken-")
    assert aside in lines[0]
    save(copy, [3])
    check_is(restore(copy)[0], 3)


def test_two_broken_checkpoints_are_skipped(copy):
    for step in ("2", "3"):
        DAMAGES["cut data"](copy / step)
    found, lines = restore(copy)
    check_is(found, 1)
    assert [line.partition(" is")[0] for line in lines] == ["checkpoint 3", "checkpoint 2"]


def test_all_broken_is_one_line_and_nothing_is_renamed(copy):
    for step in ("1", "2", "3"):
        DAMAGES["cut data"](copy / step)
    with pytest.raises(SettingsError, match=r"no checkpoint in .* can be read \(the newest, 3: ") as error:
        restore(copy)
    assert "\n" not in str(error.value)
    assert steps_in(copy) == ["1", "2", "3"]


def test_checkpoints_of_other_shapes_are_kept(copy):
    like = arrays_of(0) | {"weights": jnp.zeros((3, 3))}
    with pytest.raises(SettingsError, match="can be read"):
        restore(copy, like)
    check_is(restore(copy)[0], 3)


def test_an_unfinished_save_is_removed(copy):
    shutil.copytree(copy / "3", copy / "4.orbax-checkpoint-tmp")
    (copy / "4.orbax-checkpoint-tmp" / "commit_success.txt").unlink()
    found, lines = restore(copy)
    check_is(found, 3)
    assert lines == []
    save(copy, [4])
    check_is(restore(copy)[0], 4)
    assert steps_in(copy) == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"keep": 1}, ["7"]),
        ({"keep": 2}, ["6", "7"]),
        ({"keep": 1, "keep_every": 3}, ["3", "6", "7"]),
        ({"keep": 2, "keep_every": 2}, ["2", "4", "6", "7"]),
    ],
)
def test_the_newest_and_every_nth_are_kept(tmp_path, options, left):
    save(tmp_path / "checkpoints", range(1, 8), **options)
    assert steps_in(tmp_path / "checkpoints") == left


def test_a_negative_keep_every_is_refused():
    with pytest.raises(SettingsError, match=r"checkpoints.keep_every is -1; it must be 0 \(none\) or more"):
        make_config(**{"checkpoints.keep_every": -1})


@pytest.fixture(scope="module")
def saved_on_two_devices(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("saved") / "run"
    arrays, setup = save_run(workdir)
    assert dict(setup.mesh.shape) == {"population": 2, "data": 1, "fsdp": 1, "tensor": 1}
    return workdir, params_sha256({"teacher": arrays.teacher, "best": arrays.best}), arrays


@pytest.mark.slow
def test_both_processes_skip_what_one_cannot_read(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    module, folder = "tests.storage.restore_on_two_processes", str(tmp_path / "checkpoints")
    program = [sys.executable, "-m", module, folder, coordinator]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*program, number], cwd=ROOT, env=environment, **pipes) for number in "01"]
    try:
        finished = [(*process.communicate(timeout=600), process.returncode) for process in both]
    finally:
        for process in both:
            process.kill()
    for out, err, code in finished:
        assert code == 0, err
        line, result = out.splitlines()[-2:]
        assert line.startswith("checkpoint 2 is broken (")
        assert result == "1 {'step': 1} True"


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "num_shards"), [("4x1x1x1", 1), ("1x1x2x2", 4)])
def test_a_state_is_restored_on_any_mesh(saved_on_two_devices, sizes, num_shards):
    workdir, sha256, arrays = saved_on_two_devices
    program = [sys.executable, "-m", "tests.storage.restore_on_a_mesh", str(workdir), sizes]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["step"] == 3
    assert found["sha256"] == sha256
    assert found["laid_out"]
    assert found["largest_shard"] == max(leaf.size for leaf in jax.tree.leaves(arrays.best)) // num_shards


@pytest.mark.parametrize(
    ("message", "kind", "match"),
    [
        ("RESOURCE_EXHAUSTED: Error writing x [No space left on device]", OSError, ": No space left on device$"),
        ("PERMISSION_DENIED: storage.objects.create", OSError, ": PERMISSION_DENIED$"),
        ("shapes differ", ValueError, "^shapes differ$"),
    ],
)
def test_storage_errors_are_os_errors(tmp_path, monkeypatch, message, kind, match):
    def fail(*_, **__):
        raise ValueError(message)

    checkpoints = Checkpoints(tmp_path, keep=1)
    monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
    with pytest.raises(kind, match=match):
        checkpoints.save(1, {"a": np.zeros(2)}, {})


def test_parts_of_a_chosen_step_are_restored(three):
    assert run_checkpoints.saved_steps(three) == [1, 2, 3]
    assert run_checkpoints.saved_steps(three / "no") == []
    assert run_checkpoints.read_record(three, 2) == {"step": 2, "share": 0.1}
    parts = run_checkpoints.restore_parts(three, 2, {"weights": arrays_of(0)["weights"]})
    assert parts.keys() == {"weights"}
    np.testing.assert_array_equal(parts["weights"], arrays_of(2)["weights"])


@pytest.mark.parametrize("name", ["no arrays", "no record", "cut data", "one flipped bit", "another record"])
def test_parts_of_a_broken_step_are_refused(copy, name):
    DAMAGES[name](copy / "3")
    with pytest.raises(SettingsError, match=r"^checkpoint .*/3 is broken \("):
        run_checkpoints.restore_parts(copy, 3, arrays_of(0))
    if "record" in name:
        with pytest.raises(SettingsError, match=r"^checkpoint .*/3 is broken \("):
            run_checkpoints.read_record(copy, 3)
