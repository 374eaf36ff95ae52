"""Runs a library's training loop in a thread, one step at a time.

Runs in the environment of a peer, so it uses only the standard library.
"""

import queue
import threading
import time


class Steps:
    """Synchronises the loop, which calls `begin`, `sampled` and `end`, with the caller of `step`."""

    def __init__(self):
        self._go, self._done = queue.Queue(), queue.Queue()
        self._started = self._sampling_s = 0.0
        self._tokens = 0

    def run(self, loop):
        """Starts the loop, whose first step waits for `step`."""

        def guarded():
            try:
                loop()
            except BaseException as error:  # returned by `step`
                self._done.put({"error": repr(error)})

        threading.Thread(target=guarded, daemon=True).start()

    def begin(self):
        """Waits for the next call of `step`."""
        self._go.get()
        self._started = time.perf_counter()

    def sampled(self, seconds, tokens):
        """Records the sampling time and tokens of the step."""
        self._sampling_s, self._tokens = seconds, tokens

    def end(self):
        """Reports the seconds of the step: sampling, and the rest as update."""
        update_s = time.perf_counter() - self._started - self._sampling_s
        self._done.put({"sampling_s": self._sampling_s, "update_s": update_s, "tokens": self._tokens})

    def step(self):
        """Runs one step; returns its seconds and tokens, or the error that ended the loop."""
        self._go.put(None)
        return self._done.get()
