"""Trackers without network: what arrives, read back from what each has stored."""

import atexit
import dataclasses
import importlib.util
import io
import json
import os
import pathlib
import re
import shutil
import struct
import tempfile

import pytest
from etils import epath
from PIL import Image

from soar_jax.errors import SettingsError
from soar_jax.telemetry.trackers import TRACKERS, Report, TrackedRun, Tracker
from soar_jax.telemetry.trackers.tracker import redact, safe_reason
from soar_jax.telemetry.trackers.wandb_files import last_step

if "TRACKIO_DIR" not in os.environ:  # Trackio reads it when it is imported
    os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="soar_jax_trackio_")
    atexit.register(shutil.rmtree, os.environ["TRACKIO_DIR"], ignore_errors=True)

COMMIT = "c0ffee" * 6
QUESTION = {"question": "![x](http://example.org) é | \u2028", "answer": "7", "right": None}


def image():
    png = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(png, "png")
    return png.getvalue()


REPORT = Report(
    step=3,
    results={"hard_test/base/pass_at_1": 0.25},
    policies=[{"test": "hard_test", "policy": "base", "pass@1": 0.25}],
    questions=[QUESTION],
    learning_curve=image(),
)


@dataclasses.dataclass
class Stored:
    """What a tracker has: values by step, of each time that a step was written; and texts in which facts are found."""

    steps: dict[int, list[dict]]
    facts: str


def framed(file, header):
    """Records of a file of TensorFlow (length, checksum, bytes, checksum)."""
    content = file.read_bytes()[header:]
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        yield content[12 : 12 + size]
        content = content[16 + size :]


def read_tensorboard(run):
    from tensorboardX.proto.event_pb2 import Event

    steps, facts = {}, ""
    for file in sorted((run.folder / "tensorboard").iterdir()):
        for record in framed(file, 0):
            event = Event.FromString(record)
            values = {value.tag: value.simple_value for value in event.summary.value if value.HasField("simple_value")}
            if event.session_log.status:  # a new start hides what comes after
                steps = {step: found for step, found in steps.items() if step < event.step}
            if values:
                steps.setdefault(event.step, []).append(values)
            facts += "".join(value.tensor.string_val[0].decode() for value in event.summary.value if value.tensor.dtype)
            facts += "learning_curve" * any(value.HasField("image") for value in event.summary.value)
    return Stored(steps, facts)


def wandb_records(file):
    """The records of a `.wandb` file: LevelDB's log, a header of 7 bytes, blocks of 32 KiB."""
    content, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def read_wandb(run):
    from wandb.proto.wandb_internal_pb2 import Record

    steps, facts = {}, ""
    for file in sorted(pathlib.Path(run.folder / "wandb").glob(f"offline-run-*/run-{run.run_id}.wandb")):
        for content in wandb_records(file):
            record = Record.FromString(content)
            items = [*record.history.item, *record.run.config.update, *record.summary.update]
            facts += "".join(f"{item.key or '/'.join(item.nested_key)}={item.value_json}\n" for item in items)
            values = {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
            }
            if "reward" in values:
                steps.setdefault(values["_step"], []).append(values)
        for table in sorted(pathlib.Path(file).parent.rglob("*.table.json")):
            facts += json.dumps(json.loads(table.read_text()), ensure_ascii=False)
    return Stored(steps, facts)


def read_trackio(run):
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (found,) = [each for each in Api().runs(run.project) if each.name.endswith(run.run_id)]
    rows = SQLiteStorage.get_logs(run.project, found.name)
    steps = {}
    for row in rows:
        if "reward" in row:
            steps.setdefault(row["step"], []).append(row)
    return Stored(steps, json.dumps([found.config, rows], ensure_ascii=False).replace("\\\\", ""))


def read_mlflow(run):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.folder}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name(run.project).experiment_id])
    steps = {}
    for name in ("reward", "loss"):
        for point in client.get_metric_history(found.info.run_id, name):
            steps.setdefault(point.step, []).append({name: point.value})
    texts = [path.read_text() for path in pathlib.Path(run.folder / "mlartifacts").rglob("*.jsonl")]
    names = [file.path for file in client.list_artifacts(found.info.run_id)]
    assert found.info.status == "FINISHED"
    facts = {"config": found.data.params, "tags": found.data.tags, "results": found.data.metrics, "files": names}
    return Stored({step: [_joined(values)] for step, values in steps.items()}, repr(facts) + "".join(texts))


def _joined(values):
    """The values of a step, each logged once."""
    assert len(values) == len({name for value in values for name in value})
    return {name: number for value in values for name, number in value.items()}


READERS = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "trackio": read_trackio,
    "mlflow": read_mlflow,
}


def needs(name):
    for package in TRACKERS[name].packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: the tracker {name} is not tested; pip install 'soar-jax[{name}]'")


@pytest.fixture
def tracked(tmp_path):
    """Makes a run for a tracker, the same at every start."""

    def tracked(next_step=0, folder=tmp_path / "run"):
        folder.mkdir(exist_ok=True)
        return TrackedRun(
            run_id="a1b2c3d4",
            name="run",
            project=re.sub(r"\W", "_", tmp_path.name),
            offline=True,
            folder=epath.Path(folder),
            config={"method": "soar_math", "outer": {"num_datasets": 41}, "prompts": {"student": "x" * 7000}},
            environment={"git_commit": COMMIT},
            next_step=next_step,
        )

    return tracked


def test_every_tracker_is_read_back():
    assert READERS.keys() == TRACKERS.keys()


@pytest.mark.parametrize("name", READERS)
def test_what_arrives_over_two_starts_is_there_once(name, tracked):
    needs(name)
    kind, run = TRACKERS[name], tracked()
    kind.check(offline=True, folder=run.folder)
    first = kind(run)
    assert first.last_step in (-1, None)  # None: Trackio of a run that it does not know
    for step in (0, 1):
        first.log_step(step, {"reward": step / 4, "loss": 2.0})
    first.close(finished=False)
    second = kind(tracked(next_step=2))
    assert second.last_step == 1
    second.log_step(2, {"reward": 0.5, "loss": 2.0})
    second.log_report(REPORT)
    second.close(finished=True)
    stored = READERS[name](run)
    assert sorted(stored.steps) == [0, 1, 2]
    for step, times in stored.steps.items():
        (values,) = times if name != "tensorboard" else [_joined(times)]
        assert (values["reward"], values["loss"]) == (step / 4, 2.0)
    for fact in (COMMIT, "num_datasets", "41", "pass_at_1" if name != "tensorboard" else "pass@1", "example.org"):
        assert fact in stored.facts, fact
    assert "learning_curve" in stored.facts


def test_the_last_step_of_wandbs_files_is_read_also_when_cut(tracked):
    needs("wandb")
    run = tracked()
    folder = pathlib.Path(run.folder) / "wandb"
    assert last_step(folder, run.run_id) == -1
    tracker = TRACKERS["wandb"](run)
    for step in range(3):
        tracker.log_step(step, {f"metric {n}": float(n) for n in range(1500)})  # more than a block
    tracker.close(finished=False)  # waits until all is on disk
    assert last_step(folder, run.run_id) == 2
    (file,) = folder.glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    assert len(content) > 2 * 32768
    found = []
    for size in [*range(0, len(content), 1009), len(content)]:
        file.write_bytes(content[:size])
        found.append(last_step(folder, run.run_id))
    assert found == sorted(found)
    assert set(found) == {-1, 0, 1, 2}
    file.write_bytes(content[:7] + b"\1" * 500 + content[507:])
    assert last_step(folder, run.run_id) in (None, -1)


def test_tensorboard_hides_steps_that_are_made_again(tracked):
    kind = TRACKERS["tensorboard"]
    for next_step, reward in ((0, 1.0), (1, 2.0)):
        tracker = kind(tracked(next_step))
        for step in range(next_step, 3):
            tracker.log_step(step, {"reward": reward})
        tracker.close(finished=False)
    assert read_tensorboard(tracked()).steps == {0: [{"reward": 1.0}], 1: [{"reward": 2.0}], 2: [{"reward": 2.0}]}


def test_a_tracker_without_its_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(TRACKERS["wandb"], "packages", ("no_such_package",))
    message = r"^tracking.trackers needs no_such_package, which cannot be imported; pip install 'soar-jax\[wandb\]'$"
    with pytest.raises(SettingsError, match=message):
        TRACKERS["wandb"].check(offline=True, folder=epath.Path(tmp_path))


def test_a_folder_with_the_name_of_a_package_is_no_package(monkeypatch, tmp_path):
    (tmp_path / "soar_jax_no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(TRACKERS["trackio"], "packages", ("soar_jax_no_such_tracker",))
    with pytest.raises(SettingsError, match="cannot be imported"):
        TRACKERS["trackio"].check(offline=True, folder=epath.Path(tmp_path))


@pytest.mark.parametrize(
    ("key", "message"), [("", "wandb has no key; set WANDB_API_KEY"), ("short", "refuses its key")]
)
def test_wandb_without_a_usable_key_does_not_start(key, message, monkeypatch, tmp_path):
    needs("wandb")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(SettingsError, match=message) as refused:
        TRACKERS["wandb"].check(offline=False, folder=epath.Path(tmp_path))
    assert "\n" not in str(refused.value)
    TRACKERS["wandb"].check(offline=True, folder=epath.Path(tmp_path))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_files_for_later_need_a_folder_on_disk(name):
    needs(name)
    with pytest.raises(SettingsError, match="gs://bucket/run cannot hold; use a local --workdir"):
        TRACKERS[name].check(offline=True, folder=epath.Path("gs://bucket/run"))


def test_trackio_that_would_send_is_refused_offline(monkeypatch, tmp_path):
    needs("trackio")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/space")
    with pytest.raises(SettingsError, match=r"tracking.offline is True, but TRACKIO_SPACE_ID is set; unset it"):
        TRACKERS["trackio"].check(offline=True, folder=epath.Path(tmp_path))


def test_credentials_are_not_said(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "hunter2hunter2")
    text = "POST https://me:hunter3@host/x?write_token=abcdef&a=1 hunter2hunter2 failed"
    assert redact(text) == "POST https://…@host/x?write_token=…&a=1 … failed"
    error = RuntimeError(" " * 190 + "hunter2hunter2\nsecond line")
    assert safe_reason(error) == "RuntimeError: … second line"


def test_a_tracker_has_all_methods():
    with pytest.raises(TypeError, match="abstract method"):
        type("Half", (Tracker,), {"log_step": None})(None)
