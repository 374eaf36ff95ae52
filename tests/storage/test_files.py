import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.errors import SettingsError
from soar_jax.runs import out_folder, policies
from soar_jax.runs.completions import CompletionFile
from soar_jax.runs.workdir import check_workdir, claim_workdir
from soar_jax.storage import files
from soar_jax.storage.records import JsonLines, read_json, read_lines, remove, replace_text, write_json
from soar_jax.storage.run_checkpoints import Checkpoints
from tests import fake_bucket
from tests.configs import make_config
from tests.runs.saved_runs import save_run


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
    """A folder that does not exist yet."""
    if request.param == "disk":
        return files.to_path(str(tmp_path / "new"))
    return bucket_folder(request)


@pytest.fixture
def in_bucket(request):
    return bucket_folder(request)


def bucket_folder(request):
    fake_bucket.serve()
    return files.to_path(f"gs://{fake_bucket.NAME}/{request.node.originalname}")


@pytest.fixture
def config():
    return make_config()


def test_rows_are_appended_and_truncated(folder):
    folder.mkdir(parents=True)
    lines = JsonLines(folder / "rows.jsonl")
    lines.truncate(0)
    assert lines.append([]) == 0
    kept = lines.append([{"text": "é\u2028"}, {"number": 1}])
    assert lines.append([{"number": 2}]) == kept + len('{"number": 2}\n')
    again = JsonLines(folder / "rows.jsonl")  # as the next start would
    again.truncate(kept)
    assert read_lines(again.path) == [{"text": "é\u2028"}, {"number": 1}]
    again.append([{"number": 3}])
    assert [row.get("number") for row in read_lines(again.path)] == [None, 1, 3]
    with pytest.raises(SettingsError, match="rows are lost"):
        again.truncate(1000)


def test_files_are_replaced_and_removed(folder):
    folder.mkdir(parents=True)
    path = folder / "file.json"
    write_json(path, {"a": 1})
    replace_text(path, '{"a": "é"}')
    assert read_json(path) == {"a": "é"}
    assert files.list_names(folder) == ["file.json"]
    remove(path)
    remove(path)
    assert not path.exists()
    assert files.list_names(folder) == []


def test_content_larger_than_one_request_is_written(in_bucket):
    content = bytes(range(256)) * 25_000
    files.write(in_bucket / "large", content)
    files.append(in_bucket / "large", b"end")
    files.truncate(in_bucket / "large", len(content) + 1)
    assert (in_bucket / "large").read_bytes() == content + b"e"
    assert files.size(in_bucket / "large") == len(content) + 1


def test_a_file_that_another_client_changed_is_reread(in_bucket):
    lines = JsonLines(in_bucket / "rows.jsonl")
    lines.append([{"promoted": 0}])
    replace_text(lines.path, '{"promoted": 1}\n')
    lines.append([{"promoted": 0}])
    assert [row["promoted"] for row in read_lines(lines.path)] == [1, 0]


def test_a_workdir_belongs_to_one_config(folder, config):
    other = dataclasses.replace(config, seed=7)
    check_workdir(folder, config)
    claim_workdir(folder, config).close()
    check_workdir(folder, other)  # nothing has started
    replace_text(folder / "metrics.jsonl", "")
    check_workdir(folder, config)
    with pytest.raises(SettingsError, match=r"holds the run of another config \(different: seed\)"):
        check_workdir(folder, other)


def test_an_out_folder_is_reused_only_by_equal_settings(folder):
    out_folder.check_out_folder(folder)
    with out_folder.claim_out_folder(folder, {"seed": 1}):
        pass
    with out_folder.claim_out_folder(folder, {"seed": 1}):
        pass
    with pytest.raises(SettingsError, match=r"results of other settings \(different: seed\)"):
        out_folder.claim_out_folder(folder, {"seed": 2})


def test_other_files_in_a_bucket_are_left_alone(in_bucket):
    replace_text(in_bucket / "notes", "mine")
    with pytest.raises(SettingsError, match="holds other files"):
        out_folder.check_out_folder(in_bucket)


def test_a_completion_file_gets_its_name_when_complete(folder):
    folder.mkdir(parents=True)
    path = folder / "completions.jsonl"
    row = '{"id": "a", "verdict": "correct"}\n'
    replace_text(folder / "completions.jsonl.partial", row + row + row + '{"id"')
    file = CompletionFile(path, 2)
    assert file.verdicts == [["correct", "correct"]]
    file.finish()
    assert path.read_text() == row + row
    assert [found.name for found in folder.iterdir()] == ["completions.jsonl"]


def test_checkpoints_in_a_bucket(in_bucket):
    folder = in_bucket / "checkpoints"

    def arrays(step):
        return {"weights": jnp.full((40, 8), step, jnp.float32), "count": jnp.int32(step)}

    checkpoints = Checkpoints(folder, keep=2)
    assert checkpoints.restore_newest(arrays(0), print) is None
    for step in (1, 2, 3):
        checkpoints.save(step, arrays(step), {"step": step})
    checkpoints.close()
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]

    (folder / "3" / "commit_success.txt").unlink()  # as after an unfinished save
    (folder / "2" / "record" / "metadata").write_text("{")
    checkpoints = Checkpoints(folder, keep=2)
    with pytest.raises(SettingsError, match=r"no checkpoint in gs://bucket/.* can be read"):
        checkpoints.restore_newest(arrays(0), print)
    checkpoints.save(4, arrays(4), {"step": 4})
    checkpoints.save(5, arrays(5), {"step": 5})
    checkpoints.wait()
    (folder / "5" / "record" / "metadata").write_text("{")
    lines = []
    step, found, record = checkpoints.restore_newest(arrays(0), lines.append)
    checkpoints.close()
    assert (step, record) == (4, {"step": 4})
    jax.tree.map(np.testing.assert_array_equal, found, arrays(4))
    assert [line.partition(" (")[0] for line in lines] == ["checkpoint 5 is broken"]
    assert not (folder / "5").exists()


def test_policies_are_read_from_a_bucket(in_bucket):
    arrays, _ = save_run(in_bucket / "run", steps=(1,))
    (in_bucket / "run" / "checkpoints" / "2" / "arrays" / "manifest.ocdbt").write_text("")  # of an unfinished save
    policy = policies.load(f"{in_bucket}/run:teacher", "float32")
    jax.tree.map(np.testing.assert_array_equal, policy.model.params, jax.device_get(arrays.teacher.weights))
    assert policy.name == f"{in_bucket}/run: teacher, after outer step 1"
    with pytest.raises(SettingsError, match="is no run's workdir, so it has no teacher"):
        policies.load(f"{in_bucket}/other:teacher", "float32")


URLS = ("s3://bucket/run", "hf://name", "gs://", "gs:///run", "gs:/bucket/run", "gs://bucket/a*", "file:/run")


@pytest.mark.parametrize("text", URLS)
def test_other_urls_are_refused(text):
    with pytest.raises(SettingsError, match=r"only local paths and gs://BUCKET/FOLDER, "):
        files.to_path(text)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"gs://bucket/run needs: pip install 'soar-jax\[gcs\]'"):
        files.to_path("gs://bucket/run")


def test_a_bucket_that_cannot_be_used_is_one_line(config, monkeypatch, tmp_path):
    fake_bucket.serve()
    monkeypatch.setattr(files, "BUCKET_TIMEOUT_S", 0.1)
    here, nowhere = (files.to_path(f"gs://{name}/run") for name in ("bucket", "nowhere"))
    for check in (lambda path: check_workdir(path, config), out_folder.check_out_folder):
        check(here)
        with pytest.raises(SettingsError, match=r"cannot use the bucket of gs://nowhere/run \(NotFound: ") as error:
            check(nowhere)
        assert "\n" not in str(error.value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"cannot use the bucket of gs://bucket/run \(") as error:
        files.check_bucket(here)
    assert "\n" not in str(error.value)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(SettingsError, match=r"cannot use the bucket of gs://bucket/run \(DefaultCredentialsError: "):
        files.check_bucket(here)
