"""Jobs of a study in worker processes, and the progress lines."""

import dataclasses
import json
import os
from types import SimpleNamespace

import pytest

from soar_jax.errors import InterruptedRunError, SettingsError
from soar_jax.studies import local, scheduler
from soar_jax.studies.child_process import JobResult
from soar_jax.studies.queue import JobQueue
from soar_jax.studies.study import plan


@pytest.fixture
def jobs(tmp_path):
    """Three planned jobs."""
    return plan(("hard_only",), "nano", seeds=(0, 1, 2), out=tmp_path)


@pytest.fixture
def interrupts(monkeypatch):
    """Replaces `Interrupts`, which would take over this process's signals, by a flag `has_come`."""
    signal = SimpleNamespace(has_come=False)

    def raise_if_stopped():
        if signal.has_come:
            raise InterruptedRunError

    monkeypatch.setattr(local, "Interrupts", lambda: SimpleNamespace(raise_if_stopped=raise_if_stopped))
    monkeypatch.setattr(local, "POLL_S", 0.01)
    return signal


WAIT = """
import pathlib, sys, time
def wait(name):
    end = time.monotonic() + 60
    while not pathlib.Path(name).exists():
        assert time.monotonic() < end, name
        time.sleep(0.01)
"""


def doing(job, code):
    """Replaces a job by Python code that starts fast."""
    return dataclasses.replace(job, arguments=("-S", "-E", "-c", WAIT + code))


def test_folder_has_one_scheduler_at_a_time(tmp_path):
    out = tmp_path / "new" / "out"
    lock = scheduler.lock_study(out)
    with pytest.raises(SettingsError, match=f"^another process is running in {out}; wait or choose another --out$"):
        scheduler.lock_study(out)
    lock.close()
    scheduler.lock_study(out).close()


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(SettingsError, match=r"^cannot write to .*notes/out: Not a directory; choose another --out$"):
        scheduler.lock_study(tmp_path / "notes" / "out")


def test_two_workers(jobs, interrupts):
    """Two workers start jobs in order and yield them as they end."""
    first, second, third = jobs
    first = doing(first, f"wait({str(third.workdir / 'ran')!r})")
    second = doing(second, f"print('alone:', not pathlib.Path({str(third.workdir)!r}).exists()); sys.exit(3)")
    third = doing(third, f"pathlib.Path({str(third.workdir / 'ran')!r}).touch(); wait({str(third.workdir / 'go')!r})")
    outcomes = local.run([first, second, third], os.environ, workers=2)
    failed = next(outcomes)
    assert (failed.job, failed.code, failed.error) == (second, 3, "alone: True")  # the third starts after this one ends
    assert next(outcomes).job == first  # the third is still running
    (third.workdir / "go").touch()
    (last,) = outcomes
    assert (last.job, last.code) == (third, 0)


def test_stop_signal_is_forwarded_to_jobs_and_awaited(jobs, interrupts):
    first, second, third = jobs
    handler = "import signal; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.1), print('saved'), sys.exit(75)))"
    first = doing(first, f"{handler}\npathlib.Path({str(first.workdir / 'ready')!r}).touch(); wait('no such file')")
    second = doing(second, f"wait({str(first.workdir / 'ready')!r})")
    outcomes = local.run([first, second, third], os.environ, workers=2)
    assert next(outcomes).job == second
    interrupts.has_come = True
    with pytest.raises(InterruptedRunError):
        next(outcomes)
    assert first.log.read_text().splitlines()[-1] == "saved"
    assert not third.workdir.exists()


def test_a_job_waits_for_the_run_that_it_starts_from(jobs, interrupts):
    """The third one starts before the second, which waits for the first; a failed source is no reason to wait on."""
    first, second, third = jobs
    first = doing(first, f"wait({str(third.workdir / 'ran')!r}); sys.exit(3)")
    second = dataclasses.replace(doing(second, "print('error: no source'); sys.exit(2)"), source=first.workdir)
    third = doing(third, f"pathlib.Path({str(third.workdir / 'ran')!r}).touch()")
    outcomes = list(local.run([second, first, third], os.environ, workers=2))
    assert {outcome.job for outcome in outcomes[:2]} == {first, third}
    assert (outcomes[2].job, outcomes[2].code, outcomes[2].error) == (second, 2, "error: no source")


def test_queue_gives_jobs_in_order_once_their_source_has_ended(jobs):
    first, second, third = jobs
    second = dataclasses.replace(second, source=first.workdir)
    third = dataclasses.replace(third, source=third.workdir / "of an earlier study")
    queue = JobQueue([second, first, third])
    assert [queue.take(), queue.take(), queue.take()] == [first, third, None]
    assert queue
    queue.end(third)
    assert queue.take() is None
    queue.end(first)
    assert queue.take() == second
    assert not queue


def finish(job, pass_at_1, pass_at_32):
    scores = {"hard_test": {"pass@1": pass_at_1, "pass@32": pass_at_32}}
    job.workdir.mkdir(parents=True)
    (job.workdir / "summary.json").write_text(json.dumps({"policies": {"base": scores, "hard_only": scores}}))


def test_only_unfinished_jobs_run_and_failures_are_returned(jobs, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    finish(jobs[0], 0.5, 0.5)
    received = {}

    def engine(left, environment):
        received.update(jobs=left, environment=environment)
        yield JobResult(job=jobs[1], code=-9, seconds=2.0)
        finish(jobs[2], 0.125, 1.0)
        yield JobResult(job=jobs[2], code=0, seconds=70.0)

    failed = scheduler.run_unfinished(jobs, engine, tmp_path)
    assert failed == [JobResult(job=jobs[1], code=-9, seconds=2.0)]
    assert received["jobs"] == jobs[1:]
    assert received["environment"]["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / ".compilation_cache")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 runs, 1 finished before"
    error = f"FAILED (ended by signal SIGKILL); see {jobs[1].log}"
    assert lines[1] == f"[2/3] hard_only seed 1, 2 s: {error}; about 0 min left"
    scores = "pass@1 / pass@32 (%) hard_only 12.5 / 100.0"
    assert lines[2] == f"[3/3] hard_only seed 2, 70 s: {scores}; about 0 min left"


def test_time_left_is_estimated_from_jobs_of_this_start(jobs, tmp_path, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(scheduler.time, "perf_counter", lambda: now[0])

    def engine(left, environment):
        for job in left[:2]:
            now[0] += 600
            yield JobResult(job=job, code=-15, seconds=600.0)

    finish(jobs[0], 0.0, 0.0)
    scheduler.run_unfinished([*jobs, jobs[1]], engine, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("; ")[2] for line in lines[1:]] == ["about 20 min left", "about 10 min left"]
    assert lines[0] == "4 runs, 1 finished before"
