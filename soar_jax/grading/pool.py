"""Worker processes for computer algebra, with a deadline per task; a worker that hangs is killed and replaced."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence

START_DEADLINE_S = 60.0  # for a worker to import its libraries
MAX_FAILED_STARTS = 3  # in a row, times the number of workers


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

    def __init__(self, num_workers: int, deadline_s: float) -> None:
        self._num_workers, self._deadline_s = num_workers, deadline_s
        self.workers: list[Worker] = []
        self._failed_starts = 0

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """Returns whether each pair is equal; None if undecided at its deadline.

        Raises:
          ChildProcessError: workers cannot be started.
        """
        return self._run(pairs)

    def parse(self, texts: Sequence[str]) -> list[bool | None]:
        """Returns whether each text can be parsed as an expression; None if undecided at its deadline.

        Raises:
          ChildProcessError: workers cannot be started.
        """
        return self._run([(text,) for text in texts])

    def _run(self, tasks: Sequence[tuple[str, ...]]) -> list[bool | None]:
        """Runs tasks: pairs to be compared, or single texts to be parsed."""
        results: list[bool | None] = [None] * len(tasks)
        waiting = deque(range(len(tasks)))
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                self._register(selector, worker)
            while waiting or any(worker.task_index is not None for worker in self.workers):
                while len(self.workers) < min(self._num_workers, len(waiting)):
                    self._register(selector, self._start())
                for worker in self.workers:
                    if waiting and not worker.is_busy:
                        self._send(worker, waiting.popleft(), tasks)
                self._receive(selector, results)
        return results

    def close(self) -> None:
        """Kills all workers."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
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
            start_new_session=True,  # a Ctrl-C goes to the run, which closes the pool
        )
        worker = Worker(process=process, deadline=time.monotonic() + START_DEADLINE_S)
        self.workers.append(worker)
        return worker

    def _register(self, selector: selectors.BaseSelector, worker: Worker) -> None:
        assert worker.process.stdout is not None
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _send(self, worker: Worker, index: int, tasks: Sequence[tuple[str, ...]]) -> None:
        assert worker.process.stdin is not None
        worker.task_index, worker.deadline = index, time.monotonic() + self._deadline_s
        with contextlib.suppress(BrokenPipeError):  # the worker has died; `_receive` sees the end of its output
            worker.process.stdin.write(json.dumps(tasks[index]).encode() + b"\n")
            worker.process.stdin.flush()

    def _receive(self, selector: selectors.BaseSelector, results: list[bool | None]) -> None:
        """Waits for output or the next deadline, stores results, and removes dead and late workers."""
        next_deadline = min((worker.deadline for worker in self.workers if worker.is_busy), default=0.0)
        for key, _ in selector.select(max(0.0, next_deadline - time.monotonic())):
            worker, output = key.data, os.read(key.fd, 1024)
            if not output:
                self._remove(selector, worker)
            elif not worker.is_ready:
                worker.is_ready = True
                self._failed_starts = 0
            elif worker.task_index is not None:
                results[worker.task_index], worker.task_index = json.loads(output), None
        now = time.monotonic()
        for worker in [worker for worker in self.workers if worker.is_busy and worker.deadline < now]:
            self._remove(selector, worker)

    def _remove(self, selector: selectors.BaseSelector, worker: Worker) -> None:
        """Kills a worker that has died or hangs; its task stays undecided."""
        assert worker.process.stdout is not None
        selector.unregister(worker.process.stdout)
        worker.process.kill()
        worker.process.wait()
        self.workers.remove(worker)


@functools.cache
def shared_pool(num_workers: int, deadline_s: float) -> AlgebraPool:
    """Returns the pool of this process for these settings; its workers end with the process."""
    pool = AlgebraPool(num_workers, deadline_s)
    atexit.register(pool.close)
    return pool
