"""The whole study through the command line: killed, started again, and with a run that fails."""

import json
import signal
import subprocess
import time

import pytest

from tests.experiments.runs import PATIENCE_S, TINY, finish, run_program

METHODS = ("curated", "soar_math", "hard_only")


def flags(out, *more, methods=METHODS):
    settings = [f"--set={key}={value}" for key, value in TINY.items() if key != "num_outer_steps"]
    return (f"--out={out}", f"--methods={','.join(methods)}", "--seeds=1", *settings, *more)


def reproduce(*arguments, **methods):
    """Runs a study, whose runs are processes, from this one; exit code, stdout and stderr."""
    return run_program("reproduce", *flags(*arguments, **methods))


def wait_for(path, process):
    deadline = time.time() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.time() < deadline, path
        time.sleep(0.05)


def alive(workdir):
    """Whether a process that was started with a workdir on its command line still runs."""
    found = subprocess.run(["pgrep", "-f", f"workdir={workdir}"], stdout=subprocess.PIPE, check=False)
    return found.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_and_started_again_repeats_no_finished_work(launch, tmp_path, number):
    first = launch("reproduce", *flags(tmp_path))
    wait_for(tmp_path / "curated/seed0/summary.json", first)
    wait_for(tmp_path / "soar_math/seed0/metrics.jsonl", first)
    finished = (tmp_path / "curated/seed0/summary.json").stat()
    first.send_signal(number)
    code, _, err = finish(first)
    if number == signal.SIGTERM:
        assert code == 75
        assert "Resume with:" in err
    deadline = time.time() + PATIENCE_S
    while alive(tmp_path / "soar_math/seed0"):  # no orphan keeps running
        assert time.time() < deadline
        time.sleep(0.05)
    assert not (tmp_path / "hard_only/seed0").exists()

    code, out, err = reproduce(tmp_path)
    assert code == 0, err
    assert "3 runs, 1 finished before" in out
    now = (tmp_path / "curated/seed0/summary.json").stat()
    assert (now.st_mtime_ns, now.st_ino) == (finished.st_mtime_ns, finished.st_ino)
    assert all((tmp_path / method / "seed0/summary.json").exists() for method in METHODS)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    code, out, _ = reproduce(tmp_path)
    assert code == 0
    assert "3 runs, 3 finished before" in out


@pytest.mark.slow
def test_a_failed_run_is_listed_and_stops_no_other(tmp_path):
    broken = "--sweep=model.source=no/such/model,embedded:nano"
    code, out, err = reproduce(tmp_path, broken, methods=("curated",))
    assert code == 1
    assert out.count("FAILED") == 1
    assert err.count("error: curated model.source=no/such/model seed 0 failed: error:") == 1
    assert "Traceback" not in err
    summaries = list(tmp_path.glob("curated/*/seed0/summary.json"))
    assert [json.loads(path.read_text())["config"]["model"]["source"] for path in summaries] == ["embedded:nano"]


# The search ends with its first promotion of a student that solves anything.
SHORT = (
    "--set=promotion.rule=moving_average_literal",  # promotes also what gained nothing
    "--set=promotion.threshold=-1.0",
    "--set=promotion.window=1",
    "--set=outer.stop_at_validation=0.001",
)


@pytest.mark.slow
def test_a_run_starts_from_the_finished_soar_run_of_its_seed(tmp_path):
    """It waits for it, though it is named first."""
    code, out, err = reproduce(tmp_path, *SHORT, methods=("inference", "soar_math"))
    assert code == 0, err
    assert [line.split()[1] for line in out.splitlines() if line.startswith("[")] == ["soar_math", "inference"]
    summary = json.loads((tmp_path / "inference/seed0/summary.json").read_text())
    assert summary["config"]["source_run"] == str(tmp_path / "soar_math/seed0")
    assert set(summary["policies"]) == {"base", "promoted_student", "trained_teacher"}


@pytest.mark.slow
def test_a_failed_source_fails_what_starts_from_it(tmp_path):
    code, _, err = reproduce(tmp_path, "--set=model.source=no/such/model", methods=("soar_math", "inference"))
    assert code == 1
    assert "error: soar_math seed 0 failed: error: model.source 'no/such/model' is neither" in err
    source = tmp_path / "soar_math/seed0"
    assert f"error: inference seed 0 failed: error: source_run is {source}" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_study_whose_runs_all_fail_lists_them(tmp_path):
    code, out, err = reproduce(tmp_path, "--set=model.source=no/such/model", methods=("curated",))
    assert code == 1
    assert "report:" not in out
    assert err.startswith("error: curated seed 0 failed: error:")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--set=outer.num_datasts=3", "no such config key"),
        ("--sweep=promotion.statistic=median", "promotion.statistic is 'median'"),
        ("--methods=nothing", "there is no method 'nothing'"),
        ("--scale=giant", "unknown scale 'giant'"),
        ("--seeds=none", "--seeds=none"),
        ("--methods=inference", "inference seed 0 starts from a finished run of soar_math, and"),
    ],
)
def test_a_bad_study_is_one_line_and_starts_nothing(tmp_path, flag, message):
    code, _, err = reproduce(tmp_path / "out", flag)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
