"""Jobs that wait to be started: a run that starts from another one waits until that has ended."""

from __future__ import annotations

from collections.abc import Sequence

from soar_jax.studies.study import Job


class JobQueue:
    """Jobs in order, each ready once the run that it starts from has ended.

    If that run has failed, the job is started too: it finds its source unfinished, and fails with a line that names it.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = list(jobs)
        self._unfinished = {job.workdir for job in jobs}

    def __bool__(self) -> bool:
        """Whether a job has not been taken yet."""
        return bool(self._waiting)

    def take(self) -> Job | None:
        """Removes and returns the first job that is ready; None if all wait for jobs that run."""
        for index, job in enumerate(self._waiting):
            if job.source not in self._unfinished:
                return self._waiting.pop(index)
        return None

    def end(self, job: Job) -> None:
        """Records that a job has ended, well or not."""
        self._unfinished.discard(job.workdir)
