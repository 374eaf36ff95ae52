"""Worker processes for algebra, with a deadline for every pair; one that hangs is killed and replaced."""

from __future__ import annotations

import atexit
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
MAX_VAIN_STARTS = 3  # in a row, a worker, that none of the processes came through


@dataclasses.dataclass(kw_only=True)
class _Worker:
    process: subprocess.Popen[bytes]
    deadline: float  # of what it is doing
    item: int | None = None  # the pair it is at
    is_ready: bool = False


class AlgebraPool:
    """Compares pairs of answers in worker processes."""

    def __init__(self, num_workers: int, deadline_s: float) -> None:
        """No process is started before the first pair."""
        self._num_workers, self._deadline_s = num_workers, deadline_s
        self._workers: list[_Worker] = []
        self._vain_starts = 0

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """Whether each pair is the same; None where that was not known by its deadline.

        Raises:
          ChildProcessError: workers cannot be started.
        """
        results: list[bool | None] = [None] * len(pairs)
        waiting = deque(range(len(pairs)))
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                self._register(selector, worker)
            while waiting or any(worker.item is not None for worker in self._workers):
                while len(self._workers) < min(self._num_workers, len(waiting)):
                    self._register(selector, self._start())
                for worker in self._workers:
                    if waiting and worker.is_ready and worker.item is None:
                        self._give(worker, waiting.popleft(), pairs)
                self._listen(selector, results)
        return results

    def close(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
        self._workers.clear()

    def _start(self) -> _Worker:
        if self._vain_starts >= MAX_VAIN_STARTS * self._num_workers:
            raise ChildProcessError(
                "workers for grading cannot be started (python -m soar_jax.grading.worker says why)"
            )
        self._vain_starts += 1
        process = subprocess.Popen(
            [sys.executable, "-m", "soar_jax.grading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for the run, which ends them
        )
        worker = _Worker(process=process, deadline=time.monotonic() + START_DEADLINE_S)
        self._workers.append(worker)
        return worker

    def _register(self, selector: selectors.BaseSelector, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def _give(self, worker: _Worker, item: int, pairs: Sequence[tuple[str, str]]) -> None:
        assert worker.process.stdin is not None
        worker.item, worker.deadline = item, time.monotonic() + self._deadline_s
        try:
            worker.process.stdin.write(json.dumps(pairs[item]).encode() + b"\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; its output ends, which `_listen` sees

    def _listen(self, selector: selectors.BaseSelector, results: list[bool | None]) -> None:
        """Takes in answers until something has happened or a deadline has passed."""
        soonest = min((w.deadline for w in self._workers if w.item is not None or not w.is_ready), default=0.0)
        for key, _ in selector.select(max(0.0, soonest - time.monotonic())):
            worker, said = key.data, os.read(key.fd, 1024)
            if not said:
                self._replace(selector, worker)
            elif not worker.is_ready:
                worker.is_ready = True
                self._vain_starts = 0
            elif worker.item is not None:
                results[worker.item], worker.item = json.loads(said), None
        now = time.monotonic()
        for worker in [w for w in self._workers if (w.item is not None or not w.is_ready) and w.deadline < now]:
            self._replace(selector, worker)

    def _replace(self, selector: selectors.BaseSelector, worker: _Worker) -> None:
        """Ends a worker that has died or hangs; its pair stays without a result."""
        assert worker.process.stdout is not None
        selector.unregister(worker.process.stdout)
        worker.process.kill()
        worker.process.wait()
        self._workers.remove(worker)


@functools.cache
def shared_pool(num_workers: int, deadline_s: float) -> AlgebraPool:
    """The one pool of this process; its workers end with it."""
    pool = AlgebraPool(num_workers, deadline_s)
    atexit.register(pool.close)
    return pool
