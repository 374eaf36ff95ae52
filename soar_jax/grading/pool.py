"""Worker processes for computer algebra; one that dies or is stuck is killed and replaced."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import enum
import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Sequence

START_S = 300.0  # for a worker to import its libraries
MAX_FAILED_STARTS = 3  # in a row, times the number of workers
MAX_TRIES = 2  # of a task whose worker dies
# Wall time over the deadline, and the least of it, after which a worker is stuck: 25 times the CPU time that a task may
# take, so that load does not decide.
WALL_FACTOR, MIN_WALL_S = 200.0, 600.0


class Outcome(enum.Enum):
    """Result of a task."""

    YES = "yes"
    NO = "no"
    TIMEOUT = "timeout"  # undecided after the work that its deadline allows
    LOST = "lost"  # undecided, since its process died, or was stuck for the wall time


@dataclasses.dataclass(kw_only=True)
class Worker:
    """A worker process and its task."""

    process: subprocess.Popen[bytes]
    deadline: float  # of its start or its current task, on the monotonic clock
    task_index: int | None = None
    is_ready: bool = False

    @property
    def is_busy(self) -> bool:
        return self.task_index is not None or not self.is_ready


class AlgebraPool:
    """Compares and parses answers in worker processes, which start at the first task."""

    def __init__(self, num_workers: int, deadline_s: float, wall_s: float | None = None) -> None:
        """Sets the limits of a task.

        Args:
          deadline_s: its work, in seconds of `worker.CALLS_PER_S` calls.
          wall_s: its wall time, the last resort; by default far longer than the work takes under any load.
        """
        self._num_workers, self._deadline_s = num_workers, deadline_s
        self._wall_s = max(WALL_FACTOR * deadline_s, MIN_WALL_S) if wall_s is None else wall_s
        self.workers: list[Worker] = []
        self._failed_starts = 0

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[Outcome]:
        """Returns whether each pair is equal.

        Raises:
          ChildProcessError: workers cannot be started.
        """
        return self._run(pairs)

    def parse(self, texts: Sequence[str]) -> list[Outcome]:
        """Returns whether each text can be parsed as an expression.

        Raises:
          ChildProcessError: workers cannot be started.
        """
        return self._run([(text,) for text in texts])

    def _run(self, tasks: Sequence[tuple[str, ...]]) -> list[Outcome]:
        """Runs tasks: pairs to be compared, or single texts to be parsed."""
        results = [Outcome.LOST] * len(tasks)
        waiting, num_tries = deque(range(len(tasks))), [0] * len(tasks)
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                self._register(selector, worker)
            while waiting or any(worker.task_index is not None for worker in self.workers):
                while len(self.workers) < min(self._num_workers, len(waiting)):
                    self._register(selector, self._start())
                for worker in self.workers:
                    if waiting and not worker.is_busy:
                        self._send(worker, waiting.popleft(), tasks)
                for index in self._receive(selector, results):
                    num_tries[index] += 1
                    if num_tries[index] < MAX_TRIES:
                        waiting.appendleft(index)
        if num_lost := results.count(Outcome.LOST):
            warnings.warn(
                f"computer algebra did not decide {num_lost} of {len(tasks)} comparisons, since their processes died "
                f"or were stuck for {self._wall_s:g} s; this may depend on the load of this machine",
                stacklevel=2,
            )
        return results

    def close(self) -> None:
        """Kills all workers."""
        for worker in self.workers:
            _kill(worker)
        self.workers.clear()

    def _start(self) -> Worker:
        if self._failed_starts >= MAX_FAILED_STARTS * self._num_workers:
            raise ChildProcessError(
                "workers for grading cannot be started (python -m soar_jax.grading.worker says why)"
            )
        self._failed_starts += 1
        process = subprocess.Popen(
            [sys.executable, "-m", "soar_jax.grading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONHASHSEED": "0"},  # the order of a set may decide how sympy simplifies
            start_new_session=True,  # a Ctrl-C goes to the run, which closes the pool
        )
        worker = Worker(process=process, deadline=time.monotonic() + START_S)
        self.workers.append(worker)
        return worker

    def _register(self, selector: selectors.BaseSelector, worker: Worker) -> None:
        assert worker.process.stdout is not None
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _send(self, worker: Worker, index: int, tasks: Sequence[tuple[str, ...]]) -> None:
        assert worker.process.stdin is not None
        worker.task_index, worker.deadline = index, time.monotonic() + self._wall_s
        with contextlib.suppress(BrokenPipeError):  # the worker has died; `_receive` sees the end of its output
            worker.process.stdin.write(json.dumps([self._deadline_s, *tasks[index]]).encode() + b"\n")
            worker.process.stdin.flush()

    def _receive(self, selector: selectors.BaseSelector, results: list[Outcome]) -> list[int]:
        """Waits for output or the next deadline, stores results, and removes dead and stuck workers.

        Returns:
          The tasks whose workers died, so that they can be tried again.
        """
        died = []
        next_deadline = min((worker.deadline for worker in self.workers if worker.is_busy), default=0.0)
        for key, _ in selector.select(max(0.0, next_deadline - time.monotonic())):
            worker, output = key.data, os.read(key.fd, 1024)
            if not output:
                died += [] if worker.task_index is None else [worker.task_index]
                self._remove(selector, worker)
            elif not worker.is_ready:
                worker.is_ready = True
                self._failed_starts = 0
            elif worker.task_index is not None:
                results[worker.task_index], worker.task_index = Outcome(output.decode().strip()), None
        now = time.monotonic()
        for worker in [worker for worker in self.workers if worker.is_busy and worker.deadline < now]:
            self._remove(selector, worker)
        return died

    def _remove(self, selector: selectors.BaseSelector, worker: Worker) -> None:
        """Kills a worker that has died or is stuck; its task has no result."""
        assert worker.process.stdout is not None
        selector.unregister(worker.process.stdout)
        _kill(worker)
        self.workers.remove(worker)


def _kill(worker: Worker) -> None:
    """Kills a worker and the child that runs its task, which are a session of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # both have ended
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


@functools.cache
def shared_pool(num_workers: int, deadline_s: float) -> AlgebraPool:
    """Returns the pool of this process for these settings; its workers end with the process."""
    pool = AlgebraPool(num_workers, deadline_s)
    atexit.register(pool.close)
    return pool
