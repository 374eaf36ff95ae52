"""One run by two processes on this machine, each with two CPU devices."""

import fcntl
import json
import signal
import time
import types

import pytest

from soar_jax.errors import EXIT_BAD_INPUT, EXIT_LOST_PROCESS
from soar_jax.parallel.processes import HEARTBEAT_S
from tests.experiments.runs import PROMOTE, finish, read, rows, start, two_processes, wait_until

pytestmark = pytest.mark.slow
SIZES = (*PROMOTE, "--config.outer.num_datasets=4", "--config.final.num_replicas=4")  # a student a device
NOTICED_WITHIN_S = 10 * HEARTBEAT_S


@pytest.fixture(scope="module")
def start_both(command):
    """Starts both processes of a run in a workdir, each with more flags by its number; none outlives the tests."""
    processes = []

    def begin(workdir, more=types.MappingProxyType({})):
        new = [
            start(command, workdir, *SIZES, *flags, *more.get(number, ()))
            for number, flags in enumerate(two_processes())
        ]
        processes.extend(new)
        return new

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def run_by_two(start_both, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("two") / "run"
    (code, out, err), (second_code, second_out, second_err) = map(finish, start_both(workdir))
    assert (code, second_code) == (0, 0), err + second_err
    assert "step   3/3" in out
    assert "step" not in second_out  # the first process alone shows and writes
    return workdir


def state(workdir):
    return json.loads(read(workdir, "summary.json"))["state_sha256"]


def test_two_processes_do_what_one_does(command, run_by_two, tmp_path):
    code, _, err = finish(start(command, tmp_path / "one", *SIZES, "--config.mesh.cpu_devices=4"))
    assert code == 0, err
    found, expected = (
        json.loads(read(path, "metrics.jsonl").splitlines()[0]) for path in (run_by_two, tmp_path / "one")
    )
    assert len(found["rewards"]) == 4
    assert any(found["rewards"])
    assert found["rewards"] == pytest.approx(expected["rewards"], abs=1e-6)
    assert found["teacher_grad_norm"] == pytest.approx(expected["teacher_grad_norm"], rel=1e-3)
    assert read(run_by_two, "ledger.jsonl") == read(tmp_path / "one", "ledger.jsonl")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({1: ("--config.seed=5",)}, "the processes do not agree on the config"),
        ({}, "another process is running in the workdir"),
    ],
)
def test_what_is_wrong_ends_both_with_one_line(start_both, tmp_path, flags, complaint):
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for code, _, err in [finish(process) for process in start_both(tmp_path / "run", flags)]:
            assert code == EXIT_BAD_INPUT, err
            (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
            assert complaint in line
            assert "Traceback" not in err


def test_a_killed_process_ends_the_other_and_both_resume(start_both, run_by_two, tmp_path):
    workdir = tmp_path / "run"
    for victim, steps_done in ((1, 1), (0, 2)):
        processes = start_both(workdir)
        wait_until(lambda: rows(workdir / "metrics.jsonl") >= steps_done, processes[victim])  # noqa: B023
        processes[victim].kill()
        killed = time.monotonic()
        code, _, err = finish(processes[1 - victim], timeout=NOTICED_WITHIN_S)
        print(f"noticed after {time.monotonic() - killed:.1f} s")
        assert finish(processes[victim])[0] == -signal.SIGKILL
        assert code == EXIT_LOST_PROCESS, err
        line = [line for line in err.splitlines() if line.startswith("error: ")][-1]
        assert line.startswith("error: a process of this run has not come, has failed or cannot be reached (")
        assert line.endswith("start the same command on all hosts again, and it resumes")
    (code, out, err), (second_code, _, second_err) = map(finish, start_both(workdir))
    assert (code, second_code) == (0, 0), err + second_err
    assert "resuming after outer step" in out
    assert state(workdir) == state(run_by_two)
    assert read(workdir, "metrics.jsonl") == read(run_by_two, "metrics.jsonl")
