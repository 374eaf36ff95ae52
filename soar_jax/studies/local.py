"""Engine that runs jobs in worker processes on this machine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from soar_jax.errors import InterruptedRunError
from soar_jax.runs.interrupts import Interrupts
from soar_jax.studies import child_process
from soar_jax.studies.child_process import JobResult
from soar_jax.studies.queue import JobQueue
from soar_jax.studies.study import Job

POLL_S = 0.2


def run(jobs: Sequence[Job], environment: Mapping[str, str], workers: int) -> Iterator[JobResult]:
    """Starts jobs as they are ready, at most `workers` at a time; yields the outcome of each when it ends.

    Raises:
      InterruptedRunError: a stop signal came; the jobs received it, saved and ended.
    """
    interrupts = Interrupts()
    waiting = JobQueue(jobs)
    running: dict[subprocess.Popen[bytes], tuple[Job, float]] = {}
    try:
        while waiting or running:
            interrupts.raise_if_stopped()
            while len(running) < workers and (job := waiting.take()):
                running[child_process.start(job, environment)] = (job, time.perf_counter())
            for process in [process for process in running if process.poll() is not None]:
                job, started = running.pop(process)
                waiting.end(job)
                yield JobResult(job=job, code=process.returncode, seconds=time.perf_counter() - started)
            time.sleep(POLL_S)
    finally:
        _stop(running)


def _stop(running: Mapping[subprocess.Popen[bytes], object]) -> None:
    """Sends SIGTERM to the jobs and waits; a second stop signal kills them, which loses no saved step."""
    try:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    except InterruptedRunError:
        for process in running:
            process.kill()
        raise
