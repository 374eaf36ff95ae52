"""Runs that are killed, and runs whose checkpoints are broken, resume to the same end."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.experiments.runs import PATIENCE_S, PROMOTE, finish, outcome, read, run_tiny, start, the_error


@pytest.fixture
def copied(whole_run, tmp_path):
    """A copy of the uninterrupted run."""
    return shutil.copytree(whole_run[0], tmp_path / "run")


def cut_record(workdir, step):
    (workdir / "checkpoints" / step / "record" / "metadata").write_text("{")


@pytest.mark.slow
def test_a_broken_newest_checkpoint_repeats_that_step(whole_run, copied):
    cut_record(copied, "3")
    code, out, err = run_tiny(copied, *PROMOTE)
    assert code == 0, err
    assert "checkpoint 3 is broken (" in out
    assert "resuming after outer step 2\n" in out
    assert "step   3/3" in out
    assert outcome(copied) == outcome(whole_run[0])
    whole = sorted(path.name for path in (copied / "checkpoints").iterdir() if path.name.isdigit())
    assert whole == ["2", "3"]


@pytest.mark.slow
def test_a_run_goes_on_on_another_mesh(command, whole_run, copied):
    shutil.rmtree(copied / "checkpoints" / "3")
    (copied / "summary.json").unlink()
    mesh = [f"--config.mesh.{key}={value}" for key, value in {"cpu_devices": 4, "population": 2, "fsdp": 2}.items()]
    code, out, err = finish(start(command, copied, *PROMOTE, *mesh))
    assert code == 0, err
    assert "going on with another mesh.cpu_devices, mesh.fsdp, mesh.population\n" in out
    assert "resuming after outer step 2\n" in out
    assert read(copied, "ledger.jsonl") == read(whole_run[0], "ledger.jsonl")
    steps, expected = (
        [json.loads(line) for line in read(path, "metrics.jsonl").splitlines()] for path in (copied, whole_run[0])
    )
    assert steps[:2] == expected[:2]
    for name, value in expected[2].items():
        assert steps[2][name] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)


def test_checkpoints_that_are_all_broken_are_one_line(copied):
    for step in ("2", "3"):
        cut_record(copied, step)
    before = outcome(copied)
    code, _, err = run_tiny(copied, *PROMOTE)
    assert code == 2
    assert "can be read (the newest, 3: " in the_error(err)
    assert outcome(copied) == before


@pytest.mark.slow
def test_killed_runs_end_as_the_uninterrupted_one():
    command = [sys.executable, "-m", "benchmarks.fault_injection", "--kills=2", "--outer_steps=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("2 of 2 equal\n")
