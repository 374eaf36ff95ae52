"""Runs that are killed, and runs whose checkpoints are broken, go on to the same end."""

import shutil
import subprocess
import sys

from tests.conftest import ROOT
from tests.experiments.runs import PROMOTE, finish, outcome, start


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
