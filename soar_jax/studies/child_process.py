"""Runs a job as a child process that writes a log and ends with its parent."""

from __future__ import annotations

import ctypes
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Mapping

from soar_jax.studies.study import Job

PR_SET_PDEATHSIG = 1  # option of Linux prctl
_START = "=== start ===\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobResult:
    """Result of a job that has ended."""

    job: Job
    code: int  # exit status; minus the signal number if a signal ended it
    seconds: float

    @property
    def error(self) -> str:
        """The reason of a failure, in one line."""
        if self.code < 0:
            return f"ended by signal {signal.Signals(-self.code).name}"
        text = self.job.log.read_text(encoding="utf-8", errors="replace") if self.job.log.exists() else ""
        lines = [line.strip() for line in text.rpartition(_START)[2].splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or [f"exit status {self.code}"])[-1]


def start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a job in its own session: the terminal's Ctrl-C does not reach it, the scheduler forwards it."""
    job.workdir.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        log.write(_START.encode())  # a resumed job has several starts in its log
        log.flush()
        return subprocess.Popen(
            [sys.executable, *job.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )


def _end_with_parent() -> None:
    """Makes the kernel send SIGTERM when the parent ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
