"""Engine that runs jobs as Ray tasks, on a cluster or on this machine; all nodes must see the same files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from soar_jax.errors import SettingsError
from soar_jax.runs.interrupts import Interrupts
from soar_jax.studies import child_process
from soar_jax.studies.child_process import JobResult
from soar_jax.studies.queue import JobQueue
from soar_jax.studies.study import Job

POLL_S = 1.0
_ACCELERATORS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")  # set by Ray for each task


def run(
    jobs: Sequence[Job], environment: Mapping[str, str], workers: int, cpus: float, gpus: float
) -> Iterator[JobResult]:
    """Starts jobs as tasks as they are ready, at most `workers` at a time; yields the outcome of each when it ends.

    Args:
      cpus: CPUs per task.
      gpus: accelerators per task.

    Raises:
      SettingsError: Ray is not installed, or there is no cluster at RAY_ADDRESS.
      InterruptedRunError: a stop signal came; the jobs received it, saved and ended.
    """
    ray = _connect()
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_run_job)
    interrupts = Interrupts()  # after ray.init, which sets its own signal handlers
    waiting, running = JobQueue(jobs), dict[Any, Job]()
    try:
        while waiting or running:
            interrupts.raise_if_stopped()
            while len(running) < workers and (job := waiting.take()):
                running[task.remote(job, dict(environment), os.getcwd())] = job
            for done in ray.wait(list(running), timeout=POLL_S)[0]:
                job = running.pop(done)
                waiting.end(job)
                yield _outcome(ray, job, done)
    finally:
        for reference in running:
            ray.cancel(reference)
        if running:
            ray.wait(list(running), num_returns=len(running))
        ray.shutdown()


def _connect() -> Any:
    try:
        import ray
    except ImportError:
        raise SettingsError("--engine=ray needs: pip install 'soar-jax[ray]'") from None
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise SettingsError(f"cannot reach the Ray cluster at RAY_ADDRESS ({error}); start it or unset it") from None
    return ray


def _run_job(job: Job, environment: Mapping[str, str], folder: str) -> tuple[int, float]:
    """Task: runs a job on the task's accelerators; returns its exit status and seconds.

    A cancelled task stops its job and waits for it.
    """
    os.chdir(folder)  # the job's paths are relative
    environment = {**environment, **{name: os.environ[name] for name in _ACCELERATORS if name in os.environ}}
    started = time.perf_counter()
    process = child_process.start(job, environment)
    try:
        code = process.wait()
    finally:
        process.terminate()
        process.wait()
    return code, time.perf_counter() - started


def _outcome(ray: Any, job: Job, reference: Any) -> JobResult:
    try:
        code, seconds = ray.get(reference)
    except ray.exceptions.RayError:  # the node or worker was lost
        code, seconds = 1, 0.0
    return JobResult(job=job, code=code, seconds=seconds)
