"""A job as a child process that writes a log and ends when its parent does."""

from __future__ import annotations

import ctypes
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Mapping

from soar_jax.studies.study import Job

PR_SET_PDEATHSIG = 1  # of Linux' prctl
_START = "=== start ===\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    job: Job
    code: int  # exit status; negative: the signal that ended it
    seconds: float

    @property
    def error(self) -> str:
        """Why it failed, in one line."""
        if self.code < 0:
            return f"ended by signal {signal.Signals(-self.code).name}"
        text = self.job.log.read_text(encoding="utf-8", errors="replace") if self.job.log.exists() else ""
        lines = [line.strip() for line in text.rpartition(_START)[2].splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or [f"exit status {self.code}"])[-1]


def start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a job; a stop signal of the terminal does not reach it, its parent passes one on."""
    job.workdir.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        log.write(_START.encode())  # of more than one, where the study was interrupted
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
    """Asks the kernel to stop this process when its parent is gone, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
