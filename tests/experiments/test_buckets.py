"""Whole runs whose workdir is in a bucket."""

import json

import pytest

from soar_jax.storage import files
from soar_jax.storage.records import read_lines
from tests import fake_bucket
from tests.experiments.runs import (
    PROMOTE,
    TINY,
    kill,
    outcome,
    run_program,
    run_tiny,
    start,
    the_error,
    tiny,
    wait_until,
)


@pytest.fixture(scope="module")
def resumed_run(command, whole_run):
    """A run in a bucket that was killed behind its first outer step and started again: workdir, what it printed."""
    fake_bucket.serve()
    workdir = files.to_path(f"gs://{fake_bucket.NAME}/runs/killed")
    process = start(command, workdir, *PROMOTE)
    wait_until(lambda: read_lines(workdir / "metrics.jsonl"), process, every_s=0.02)
    kill(process)
    code, out, err = run_tiny(workdir, *PROMOTE)
    assert code == 0, err
    return workdir, out


@pytest.mark.slow
def test_a_run_killed_in_a_bucket_ends_as_one_on_disk(whole_run, resumed_run):
    workdir, out = resumed_run
    assert out.splitlines()[-1] == f"everything is in {workdir}"
    assert outcome(workdir) == outcome(whole_run[0])
    assert {path.name for path in workdir.iterdir()} == {path.name for path in whole_run[0].iterdir()} - {".lock"}
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["2", "3"]
    assert (workdir / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert all(path.read_bytes() for path in (workdir / "tensorboard").iterdir())


@pytest.mark.slow
def test_its_student_is_evaluated_and_exported(resumed_run, tmp_path):
    workdir, _ = resumed_run
    out = files.to_path(f"gs://{fake_bucket.NAME}/scores")
    flags = tiny("configs/soar_math.py", f"--out={out}", f"--model={workdir}:student")
    code, _, err = run_program("evaluate", *flags)
    assert code == 0, err
    assert {path.name for path in out.iterdir()} == {"settings.json", "completions.jsonl", "evaluation.json"}
    scores = json.loads((out / "evaluation.json").read_text())
    assert scores["settings"]["model"] == f"{workdir}: student, promotion 1, after outer step 3"
    assert len(read_lines(out / "completions.jsonl")) == 32 * TINY["evaluation.num_samples"]
    code, _, err = run_program("export", f"--model={workdir}:student", f"--out={tmp_path / 'student'}")
    assert code == 0, err
    assert (tmp_path / "student" / "model.safetensors").exists()


BAD = {
    "another cloud": ("run", "workdir", "s3://bucket/run", "only local paths and gs://BUCKET/FOLDER"),
    "no such workdir": ("run", "workdir", "gs://nowhere/run", "cannot use the bucket of gs://nowhere/run (NotFound: "),
    "no such out": ("evaluate", "out", "gs://nowhere/out", "cannot use the bucket of gs://nowhere/out (NotFound: "),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bucket_that_cannot_be_used_is_one_line(name):
    fake_bucket.serve()
    program, flag, folder, message = BAD[name]
    code, _, err = run_program(program, *tiny("configs/soar_math.py", f"--{flag}={folder}"))
    assert code == 2
    assert message in the_error(err)
