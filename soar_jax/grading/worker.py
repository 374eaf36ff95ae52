"""A worker process of `pool.py`: reads tasks as JSON lines and writes outcomes as lines, one at a time.

Tasks run in forked children. The limit of a task is a number of calls and returns, which is the same under any load.
Counting slows a task down, so a child that serves many tasks tries each without it first, for a tenth of its deadline,
which suffices for nearly all. What is then undecided gets a child of its own: it starts from the same caches and random
generators for every task, and counts.
"""

from __future__ import annotations

import cProfile
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Any

from soar_jax.grading.symbolic import are_algebraically_equal, is_parsable, seed, warm_up

MAX_MEMORY_BYTES = 4 * 2**30  # address space of a process
CALLS_PER_S = 5_000_000  # counted calls and returns, of Python and C functions, per second of a task's deadline
TRY_SHARE = 0.1  # share of the deadline for the try: too short for a task's calls, even on a fast core
MIN_TRY_S = 0.1  # shorter tries are left out, since the timer of CPU time is coarse
# The CPU time after which a task ends, over its deadline: more than the calls take, except in code that calls nothing.
CPU_FACTOR = 8
MAX_TASKS = 200  # of a child that tries tasks, whose memory grows
YES, NO, TIMEOUT, LOST = "yes", "no", "timeout", "lost"  # outcomes; "lost": the child crashed or was killed

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Runs tasks until the input ends; a task is `[deadline_s, text, …]`, a pair to compare or one text to parse."""
    end_with(os.getppid())  # another process may hold the input open
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep prints of libraries out of the output
    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    limit = MAX_MEMORY_BYTES if hard_limit == resource.RLIM_INFINITY else min(MAX_MEMORY_BYTES, hard_limit)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard_limit))
    warm_up()
    gc.collect()
    gc.freeze()  # the collections of a child leave alone what it shares with this process
    server = _Server()
    print("ready", file=output, flush=True)
    for line in sys.stdin:
        deadline_s, *texts = json.loads(line)
        print(server.decide(deadline_s, texts), file=output, flush=True)


class _Server:
    """Decides tasks in children."""

    def __init__(self) -> None:
        self._child: _Child | None = None  # that tries tasks

    def decide(self, deadline_s: float, texts: list[str]) -> str:
        """Returns the outcome of a task."""
        try_s = TRY_SHARE * deadline_s
        if try_s >= MIN_TRY_S and (outcome := self._try(texts, try_s)):
            return outcome
        child = _Child()
        outcome = child.run(texts, CPU_FACTOR * deadline_s, max(1, int(CALLS_PER_S * deadline_s)))
        status = child.end()
        is_over_cpu = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF
        return outcome or (TIMEOUT if is_over_cpu else LOST)

    def _try(self, texts: list[str], cpu_s: float) -> str:
        """Returns the outcome of a task; empty if it takes longer, or the child dies of it."""
        if self._child is None:
            self._child = _Child()
        outcome = self._child.run(texts, cpu_s, 0)
        if not outcome or self._child.num_tasks >= MAX_TASKS:
            self._child.end()
            self._child = None
        return outcome


class _Child:
    """A fork of this process that runs tasks, one at a time."""

    def __init__(self) -> None:
        self.num_tasks = 0
        self._socket, theirs = socket.socketpair()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._socket.close()
                _serve(theirs, parent)
            finally:
                os._exit(0)
        theirs.close()

    def run(self, texts: list[str], cpu_s: float, num_calls: int) -> str:
        """Runs a task and returns its outcome; empty if the child dies of it.

        If the process of the pool ends meanwhile, kills the child and exits.
        """
        self.num_tasks += 1
        self._socket.sendall(json.dumps([cpu_s, num_calls, *texts]).encode() + b"\n")
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(sys.stdin, select.POLLIN)  # no task comes before this one's outcome, so it is the end of input
        if self._socket.fileno() not in dict(poll.poll()):
            self.end()
            sys.exit()
        try:
            return self._socket.recv(16).decode()
        except ConnectionResetError:
            return ""

    def end(self) -> int:
        """Kills the child if it still runs, and returns its exit status as `os.waitpid` does."""
        os.kill(self._pid, signal.SIGKILL)
        self._socket.close()
        return os.waitpid(self._pid, 0)[1]


def end_with(parent: int) -> None:
    """Lets this process be killed when its parent ends, where the system can do that.

    Elsewhere the end of the input ends a worker, which kills its child, and a limit of CPU time ends each task.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended before
            os._exit(0)


def _serve(server: socket.socket, parent: int) -> None:
    """Runs the tasks that come from a server, and ends with it."""
    end_with(parent)
    for line in server.makefile():
        cpu_s, num_calls, *texts = json.loads(line)
        server.sendall(_run(texts, cpu_s=cpu_s, num_calls=num_calls, server=server).encode())


def _run(texts: list[str], *, cpu_s: float, num_calls: int, server: socket.socket) -> str:
    """Runs a task in this process, which ends if the CPU time or the calls run out; 0 calls are not counted."""
    seed()
    signal.setitimer(signal.ITIMER_PROF, cpu_s)  # its signal ends this process, whatever runs in it
    profiler = _call_limit(num_calls, server) if num_calls else None
    if profiler:
        gc.collect()  # so that the collections that follow are the same for each task
        profiler.enable()
    try:
        result = are_algebraically_equal(*texts) if len(texts) == 2 else is_parsable(*texts)
    except Exception:  # the libraries raise many kinds; such a pair is not equal, such a text not parsable
        result = False
    if profiler:
        profiler.disable()
    signal.setitimer(signal.ITIMER_PROF, 0)
    return YES if result else NO


def _call_limit(num_calls: int, server: socket.socket) -> cProfile.Profile:
    """Makes a profiler that ends this process with the outcome TIMEOUT after a number of calls and returns.

    Its clock is a counter in C. A Python function given to `sys.setprofile` would be dropped once a recursion is too
    deep to call it.
    """
    tick = iter(range(num_calls)).__next__

    def end(unraisable: Any) -> None:
        """Is called when the counter has ended, since the profiler cannot raise."""
        if unraisable.object is tick:
            server.sendall(TIMEOUT.encode())
            os._exit(0)  # an exception could be caught by the libraries

    sys.unraisablehook = end
    return cProfile.Profile(tick, 1.0)


if __name__ == "__main__":
    main()
