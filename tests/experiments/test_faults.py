"""Runs that are killed, and runs whose checkpoints are broken, go on to the same end."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.experiments.runs import PROMOTE, finish, outcome, read, start


def cut_record(workdir, step):
    (workdir / "checkpoints" / step / "record" / "metadata").write_text("{")


def test_a_run_whose_newest_checkpoint_is_broken_repeats_that_step(command, whole_run, tmp_path):
    copy = shutil.copytree(whole_run[0], tmp_path / "run")
    cut_record(copy, "3")
    code, out, err = finish(start(command, copy, *PROMOTE))
    assert code == 0, err
    assert "checkpoint 3 is broken (" in out
    assert "resuming after outer step 2\n" in out
    assert "step   3/3" in out
    assert outcome(copy) == outcome(whole_run[0])
    whole = sorted(path.name for path in (copy / "checkpoints").iterdir() if path.name.isdigit())
    assert whole == ["2", "3"]


def test_a_run_goes_on_on_another_mesh(command, whole_run, tmp_path):
    copy = shutil.copytree(whole_run[0], tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "3")
    (copy / "summary.json").unlink()
    mesh = [f"--config.mesh.{key}={value}" for key, value in {"cpu_devices": 4, "population": 2, "fsdp": 2}.items()]
    code, out, err = finish(start(command, copy, *PROMOTE, *mesh))
    assert code == 0, err
    assert "going on with another mesh.cpu_devices, mesh.fsdp, mesh.population\n" in out
    assert "resuming after outer step 2\n" in out
    assert read(copy, "ledger.jsonl") == read(whole_run[0], "ledger.jsonl")
    steps, expected = (
        [json.loads(line) for line in read(path, "metrics.jsonl").splitlines()] for path in (copy, whole_run[0])
    )
    assert steps[:2] == expected[:2]
    for name, value in expected[2].items():
        assert steps[2][name] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)


def test_a_run_whose_checkpoints_are_all_broken_says_so_in_one_line(command, whole_run, tmp_path):
    copy = shutil.copytree(whole_run[0], tmp_path / "run")
    for step in ("2", "3"):
        cut_record(copy, step)
    before = outcome(copy)
    code, _, err = finish(start(command, copy, *PROMOTE))
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "can be read (the newest, 3: " in lines[0]
    assert "Traceback" not in err
    assert outcome(copy) == before


def test_killed_runs_end_as_the_uninterrupted_one():
    command = [sys.executable, "-m", "benchmarks.fault_injection", "--kills=2", "--outer_steps=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("2 of 2 equal\n")
