"""Whole runs through the command line, in their own processes."""

import json
import re
import shutil
import signal
import time

import pytest

from tests.experiments.runs import PROMOTE, finish, outcome, read, rows, start


def test_a_run_leaves_what_it_promises(whole_run):
    workdir, out = whole_run
    summary = json.loads(read(workdir, "summary.json"))
    for policy in ("base", "promoted_student", "hard_only"):
        for k in (1, 4, 8, 16, 32):
            assert 0 <= summary["policies"][policy]["hard_test"][f"pass@{k}"] <= 1
        assert summary["policies"][policy]["hard_test"]["num_problems"] > 0
    assert summary["outer_steps"] == 3
    assert summary["num_promotions"] == 1
    assert summary["student_steps"] == 2 == summary["policies"]["hard_only"]["student_steps"]
    assert len(summary["state_sha256"]) == 64
    assert summary["config"]["inner"]["group_size"] == 4
    assert rows(workdir / "metrics.jsonl") == 3
    assert (workdir / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((workdir / "tensorboard").iterdir())
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["2", "3"]
    # output that is not a terminal: a plain line a step, and the table
    assert "step   3/3" in out
    assert "\x1b" not in out
    assert "promoted_student" in out
    assert "pass@32" in out


def test_the_ledger_has_a_row_for_every_question_asked(whole_run):
    workdir, _ = whole_run
    ledger = [json.loads(line) for line in read(workdir, "ledger.jsonl").splitlines()]
    assert len(ledger) == 3 * 2 * 4
    metrics = [json.loads(line) for line in read(workdir, "metrics.jsonl").splitlines()]
    summary = json.loads(read(workdir, "summary.json"))
    for row in ledger:
        assert row["reward"] == metrics[row["outer_step"]]["rewards"][row["dataset"]]
    promoted = {(row["outer_step"], row["dataset"]) for row in ledger if row["promoted"]}
    assert promoted == {(p["source_step"], p["dataset"]) for p in summary["promotions"]}
    asked = [row for row in ledger if row["solve_rate"] is not None]
    assert asked
    assert all(0 <= row["solve_rate"] <= 1 for row in asked)


def test_nothing_is_compiled_after_the_first_steps(whole_run):
    workdir, _ = whole_run
    timings = [json.loads(line) for line in read(workdir, "timings.jsonl").splitlines()]
    assert timings[0]["compilations"] > 0
    assert timings[-1]["compilations"] == 0


def test_two_runs_of_one_seed_are_bit_identical_also_where_a_step_is_traced(command, whole_run, tmp_path):
    code, _, err = finish(start(command, tmp_path / "again", *PROMOTE, "--profile"))
    assert code == 0, err
    first, second = outcome(whole_run[0]), outcome(tmp_path / "again")
    assert first == second
    (trace,) = (tmp_path / "again" / "profile").rglob("*.xplane.pb")
    assert b"update_population" in trace.read_bytes()


@pytest.mark.parametrize("steps_done", [1, 2, 3])
def test_kill_9_and_resume_equal_the_uninterrupted_run(command, whole_run, tmp_path, steps_done):
    workdir = tmp_path / "run"
    process = start(command, workdir, *PROMOTE)
    deadline = time.monotonic() + 300
    while rows(workdir / "metrics.jsonl") < steps_done and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    code, _, err = finish(start(command, workdir, *PROMOTE))
    assert code == 0, err
    assert outcome(workdir) == outcome(whole_run[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_saves_and_says_how_to_resume(command, whole_run, tmp_path, number):
    workdir = tmp_path / "run"
    process = start(command, workdir, *PROMOTE)
    deadline = time.monotonic() + 300
    while rows(workdir / "metrics.jsonl") < 1 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == 75
    assert "Resume with: " in err
    assert "Traceback" not in err
    code, out, err = finish(start(command, workdir, *PROMOTE))
    assert code == 0, err
    assert "resuming after outer step" in out
    assert outcome(workdir) == outcome(whole_run[0])


BAD_STARTS = {
    "a wrong key": (["--config.outer.num_dataset=2"], "num_dataset"),
    "a wrong type": (["--config.seed=abc"], "seed"),
    "an unknown choice": (["--config.inner.advantage=ppo"], "inner.advantage is 'ppo'; choose one of rloo"),
    "too many candidates": (
        ["--config.hard_subset.num_candidates=100000"],
        "level 2 has only 36000 questions",
    ),
    "not a number": (
        ["--config.hard_subset.validation_share=nan"],
        "validation_share is nan; it must be between 0 and 1",
    ),
    "a number out of range": (["--config.inner.group_size=1"], "inner.group_size is 1; RLOO needs at least 2"),
    "a mesh that does not divide": (
        ["--config.outer.num_datasets=3"],
        "outer.num_datasets * outer.students_per_dataset is 3, which mesh.population = 2 does not divide",
    ),
    "a mesh that is too large": (["--config.mesh.population=64"], "64 devices are needed, but JAX sees 2 device"),
    "a missing model": (["--config.model.source=no/such/folder"], "model.source 'no/such/folder' is neither"),
    "an empty hard subset": (
        ["--config.hard_subset.num_samples=64"],
        "the hard subset has",
    ),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_bad_start_is_one_clear_line_and_leaves_no_run(command, tmp_path, name):
    arguments, message = BAD_STARTS[name]
    code, _, err = finish(start(command, tmp_path / "run", *arguments))
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_refused_start_does_not_stand_in_the_way_of_the_mended_one(command, tmp_path):
    bad = start(command, tmp_path / "run", *BAD_STARTS["an empty hard subset"][0])
    assert finish(bad)[0] == 2
    good = start(command, tmp_path / "run", "--config.num_outer_steps=1")
    code, out, err = finish(good)
    assert code == 0, err
    assert "step   1/1" in out


def test_lost_rows_are_noticed_on_resume(command, whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run[0], copy)
    (copy / "ledger.jsonl").write_text("")
    code, _, err = finish(start(command, copy, *PROMOTE))
    assert code == 2
    assert "rows are lost" in err


def test_an_unknown_scale_is_refused(command, tmp_path):
    code, _, err = finish(start(command, tmp_path / "run", config="configs/soar_math.py:huge"))
    assert code == 2
    assert "unknown scale 'huge'; choose one of nano" in err
    assert "Traceback" not in err


def test_a_missing_config_file_is_named(command, tmp_path):
    code, _, err = finish(start(command, tmp_path / "run", config="configs/nothing.py"))
    assert code == 2
    assert "configs/nothing.py" in err
    assert "Traceback" not in err


def test_a_workdir_of_another_config_is_refused_and_kept(command, whole_run):
    workdir, _ = whole_run
    before = outcome(workdir)
    code, _, err = finish(start(command, workdir, *PROMOTE, "--config.seed=7"))
    assert code == 2
    assert "holds the run of another config (different: seed)" in err
    assert outcome(workdir) == before


def test_a_run_does_not_go_on_with_other_hard_problems(command, whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run[0], copy)
    path = copy / "hard_subset.jsonl"
    path.write_text(path.read_text().replace('{"key": "', '{"key": "other', 1))  # as with other weights, say
    before = outcome(copy)
    code, _, err = finish(start(command, copy, *PROMOTE))
    assert code == 2
    assert "hard_subset.jsonl is missing or of another model.source" in err
    assert outcome(copy) == before


BROKEN = {
    "a ledger": (lambda run: (run / "ledger.jsonl").open("r+b").write(b"XXXX"), "ledger.jsonl is broken"),
    "a summary": (lambda run: (run / "summary.json").write_text("{"), "summary.json is broken; remove it"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_of_a_run_are_named(command, whole_run, tmp_path, name):
    copy = tmp_path / "run"
    shutil.copytree(whole_run[0], copy)
    damage, message = BROKEN[name]
    damage(copy)
    code, _, err = finish(start(command, copy, *PROMOTE))
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_an_unwritable_workdir_is_refused(command, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = finish(start(command, tmp_path / "file" / "run"))
    assert code == 2
    assert "cannot write to the workdir" in err


def test_nan_stops_the_run_with_its_step(command, tmp_path):
    sizes = ("--config.inner.group_size=32", "--config.inner.questions_per_step=8", "--config.inner.num_steps=4")
    sizes += ("--config.final.num_steps=4",)
    code, _, err = finish(start(command, tmp_path / "run", "--config.student.learning_rate=1e30", *sizes))
    assert code == 3
    assert re.search(r"is not finite at inner \(\d,\), inner step \d, student\(s\) \[", err)
    assert "Traceback" not in err
