"""Whole runs through the command line: in this process, and in their own where they are killed."""

import json
import re
import shutil
import signal

import pytest

from tests.experiments.runs import PROMOTE, finish, kill, outcome, read, rows, run_tiny, start, the_error, wait_until

pytestmark = pytest.mark.usefixtures("whole_run")  # which compiles for all
slow = pytest.mark.slow


def read_lines(workdir, name):
    return [json.loads(line) for line in read(workdir, name).splitlines()]


@pytest.fixture
def copied(whole_run, tmp_path):
    """A copy of the uninterrupted run."""
    return shutil.copytree(whole_run[0], tmp_path / "run")


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


def test_the_ledger_has_a_row_for_every_question(whole_run):
    workdir, _ = whole_run
    ledger, metrics = (read_lines(workdir, f"{name}.jsonl") for name in ("ledger", "metrics"))
    assert len(ledger) == 3 * 2 * 4
    summary = json.loads(read(workdir, "summary.json"))
    for row in ledger:
        assert row["reward"] == metrics[row["outer_step"]]["rewards"][row["dataset"]]
    (promotion,) = summary["promotions"]
    promoted = [
        row for row in ledger if (row["outer_step"], row["dataset"]) == (promotion["source_step"], promotion["dataset"])
    ]
    assert len(promoted) == 4
    asked = [row for row in ledger if row["solve_rate"] is not None]
    assert asked
    assert all(0 <= row["solve_rate"] <= 1 for row in asked)


def test_some_answers_of_each_outer_step_are_kept(whole_run):
    workdir, _ = whole_run
    ledger, completions = (read_lines(workdir, f"{name}.jsonl") for name in ("ledger", "completions"))
    assert [row["outer_step"] for row in completions] == [step for step in range(3) for _ in range(8)]
    asked = {(row["outer_step"], row["dataset"], row["question"], row["answer"]) for row in ledger}
    for row in completions:
        assert (row["outer_step"], row["dataset"], row["question"], row["reference_answer"]) in asked
        assert (row["verdict"] == "correct") == (row["reward"] == 1)
        assert 0 <= row["student_step"] < 2
    assert {row["verdict"] for row in completions} > {"correct"}


def test_a_run_says_at_its_end_how_long_its_phases_took(whole_run):
    (line,) = [line for line in whole_run[1].splitlines() if line.startswith("time of this start: ")]
    assert re.search(r" other \d+ s$", line)


@pytest.mark.slow
def test_a_run_without_kept_answers_is_the_same_run(whole_run, tmp_path):
    code, _, err = run_tiny(tmp_path / "run", *PROMOTE, "--config.analysis.saved_completions=0")
    assert code == 0, err
    assert not (tmp_path / "run" / "completions.jsonl").exists()
    for name in ("metrics.jsonl", "ledger.jsonl"):
        assert read(tmp_path / "run", name) == read(whole_run[0], name)


def test_each_program_is_compiled_once(whole_run):
    """Threads compile programs ahead of need, so a step's own count says little."""
    summary = json.loads(read(whole_run[0], "summary.json"))
    assert 10 < summary["compilations"] == len(summary["programs"]) <= 25  # 21 today


@pytest.mark.slow
def test_two_runs_of_one_seed_are_equal_also_if_traced(whole_run, tmp_path):
    code, _, err = run_tiny(tmp_path / "again", *PROMOTE, "--profile")
    assert code == 0, err
    assert outcome(whole_run[0]) == outcome(tmp_path / "again")
    (trace,) = (tmp_path / "again" / "profile").rglob("*.xplane.pb")
    assert b"update_population" in trace.read_bytes()


@pytest.mark.parametrize("steps_done", [pytest.param(1, marks=slow), 2, pytest.param(3, marks=slow)])
def test_kill_9_and_resume_equal_the_uninterrupted_run(command, whole_run, tmp_path, steps_done):
    workdir = tmp_path / "run"
    process = start(command, workdir, *PROMOTE)
    wait_until(lambda: rows(workdir / "metrics.jsonl") >= steps_done, process)
    kill(process)
    code, _, err = run_tiny(workdir, *PROMOTE)
    assert code == 0, err
    assert outcome(workdir) == outcome(whole_run[0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=slow)])
def test_a_stop_signal_saves_and_says_how_to_resume(command, whole_run, tmp_path, number):
    workdir = tmp_path / "run"
    process = start(command, workdir, *PROMOTE)
    wait_until(lambda: rows(workdir / "metrics.jsonl") >= 1, process)
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == 75
    assert "Resume with: " in err
    assert "Traceback" not in err
    code, out, err = run_tiny(workdir, *PROMOTE)
    assert code == 0, err
    assert "resuming after outer step" in out
    assert outcome(workdir) == outcome(whole_run[0])


EMPTY_SUBSET = "--config.hard_subset.num_samples=64"
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
        "validation_share is nan; give a number",
    ),
    "a number out of range": (["--config.inner.group_size=1"], "inner.group_size is 1; RLOO needs at least 2"),
    "a mesh that does not divide": (
        ["--config.outer.num_datasets=3"],
        "outer.num_datasets * outer.students_per_dataset is 3, which mesh.population = 2 does not divide",
    ),
    "a mesh that is too large": (["--config.mesh.population=64"], "64 devices are needed, but JAX sees 2 device"),
    "a missing model": (["--config.model.source=no/such/folder"], "model.source 'no/such/folder' is neither"),
    "an empty hard subset": ([EMPTY_SUBSET], "the hard subset has"),
}


def check_refused(ended, workdir, message):
    code, _, err = ended
    assert code == 2
    assert message in the_error(err)
    assert not (workdir / "metrics.jsonl").exists()
    assert not (workdir / "summary.json").exists()


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_bad_start_is_one_clear_line_and_leaves_no_run(tmp_path, name):
    arguments, message = BAD_STARTS[name]
    check_refused(run_tiny(tmp_path / "run", *arguments), tmp_path / "run", message)


@pytest.mark.parametrize("name", ["a wrong key", pytest.param("an empty hard subset", marks=slow)])
def test_a_bad_start_ends_its_process_with_exit_code_2(command, tmp_path, name):
    """One that absl finds, and one that the run finds."""
    arguments, message = BAD_STARTS[name]
    check_refused(finish(start(command, tmp_path / "run", *arguments)), tmp_path / "run", message)


def test_a_refused_start_does_not_hinder_the_mended_one(tmp_path):
    assert run_tiny(tmp_path / "run", EMPTY_SUBSET)[0] == 2
    code, out, err = run_tiny(tmp_path / "run", "--config.num_outer_steps=1")
    assert code == 0, err
    assert "step   1/1" in out


def test_lost_rows_are_noticed_on_resume(copied):
    (copied / "ledger.jsonl").write_text("")
    code, _, err = run_tiny(copied, *PROMOTE)
    assert code == 2
    assert "rows are lost" in err


def test_an_unknown_scale_is_refused(tmp_path):
    code, _, err = run_tiny(tmp_path / "run", config="configs/soar_math.py:huge")
    assert code == 2
    assert "unknown scale 'huge'; choose one of nano" in err
    assert "Traceback" not in err


def test_a_missing_config_file_is_named(tmp_path):
    code, _, err = run_tiny(tmp_path / "run", config="configs/nothing.py")
    assert code == 2
    assert "configs/nothing.py" in err
    assert "Traceback" not in err


def test_a_workdir_of_another_config_is_refused_and_kept(whole_run):
    workdir, _ = whole_run
    before = outcome(workdir)
    code, _, err = run_tiny(workdir, *PROMOTE, "--config.seed=7")
    assert code == 2
    assert "holds the run of another config (different: seed)" in err
    assert outcome(workdir) == before


def test_a_run_does_not_go_on_with_other_hard_problems(copied):
    path = copied / "hard_subset.jsonl"
    path.write_text(path.read_text().replace('{"key": "', '{"key": "other', 1))  # as with other weights, say
    before = outcome(copied)
    code, _, err = run_tiny(copied, *PROMOTE)
    assert code == 2
    assert "hard_subset.jsonl is missing or of another model.source" in err
    assert outcome(copied) == before


BROKEN = {
    "a ledger": (lambda run: (run / "ledger.jsonl").open("r+b").write(b"XXXX"), "ledger.jsonl is broken"),
    "a summary": (lambda run: (run / "summary.json").write_text("{"), "summary.json is broken; remove it"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_of_a_run_are_named(copied, name):
    damage, message = BROKEN[name]
    damage(copied)
    code, _, err = run_tiny(copied, *PROMOTE)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_an_unwritable_workdir_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run_tiny(tmp_path / "file" / "run")
    assert code == 2
    assert "cannot write to the workdir" in err


@slow
def test_nan_stops_the_run_with_its_step(tmp_path):
    sizes = ("--config.inner.group_size=32", "--config.inner.questions_per_step=8", "--config.inner.num_steps=4")
    sizes += ("--config.final.num_steps=4",)
    code, _, err = run_tiny(tmp_path / "run", "--config.student.learning_rate=1e30", *sizes)
    assert code == 3, err
    assert re.search(r"is not finite at inner \(\d,\), inner step \d, student\(s\) \[", err)
    assert "Traceback" not in err
