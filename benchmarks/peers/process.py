"""A worker: a long-lived process with libraries of its own, asked by JSON lines, and stopped while it is not asked.

Stopped, because threads that wait by spinning, as torch's do, would take the cores of whoever works meanwhile.
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
    """A worker failed at what it was asked."""


class Worker:
    """A worker process; a context manager that ends it."""

    def __init__(self, script: str, python: pathlib.Path | str, environment: dict[str, str] | None = None) -> None:
        """Starts a script of this folder.

        Args:
          python: of the environment that it runs in.
          environment: variables besides this process's own.
        """
        self._script = script
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        self._process = subprocess.Popen(
            [str(python), str(FOLDER / f"{script}.py")],
            env=os.environ | OFFLINE | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The worker's answer.

        Raises:
          WorkerError: it failed; with what it said.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # it has ended, which the missing answer shows
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        self._process.send_signal(signal.SIGSTOP)
        answer = json.loads(line) if line else {"error": f"it ended with code {self._process.wait()}\n{self._said()}"}
        if "error" in answer:
            raise WorkerError(f"{self._script} failed at {do!r}: {answer['error']}")
        return answer

    def _said(self) -> str:
        self._errors.seek(0)
        return "\n".join(self._errors.read().splitlines()[-NUM_ERROR_LINES:])

    def __enter__(self) -> Worker:
        """The worker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._errors.close()
