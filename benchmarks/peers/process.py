"""A worker: a long-lived process in an environment of its own that answers JSON lines.

It is stopped (SIGSTOP) between calls, since spinning threads such as torch's would take the cores of the other sides.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
from typing import Any

FOLDER = pathlib.Path(__file__).parent
NUM_ERROR_LINES = 20
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}


class WorkerError(RuntimeError):
    """A call to a worker failed."""


class Worker:
    """A worker process; as a context manager, it kills the process at the end."""

    def __init__(self, script: str, python: pathlib.Path | str, environment: dict[str, str] | None = None) -> None:
        """Starts a script of this folder.

        Args:
          python: interpreter of the worker's environment.
          environment: environment variables in addition to this process's.
        """
        self._script = script
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [str(python), str(FOLDER / f"{script}.py")],
            env=os.environ | OFFLINE | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def call(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Calls a function of the worker and returns its answer.

        Raises:
          WorkerError: the call failed; with the traceback or the end of stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # the process has ended: no answer follows
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        self._process.send_signal(signal.SIGSTOP)
        answer = (
            json.loads(line) if line else {"error": f"it ended with code {self._process.wait()}\n{self._stderr_tail()}"}
        )
        if "error" in answer:
            raise WorkerError(f"{self._script} failed at {do!r}: {answer['error']}")
        return answer

    def _stderr_tail(self) -> str:
        self._errors.seek(0)
        return "\n".join(self._errors.read().splitlines()[-NUM_ERROR_LINES:])

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()
