"""A library's own training loop, run in a thread and let go a step at a time.

Runs in a peer's own environment, so it needs the standard library alone.
"""

import queue
import threading
import time


class Steps:
    """Between the loop, which calls `begin`, `sampled` and `end`, and whoever asks for a `step`."""

    def __init__(self):
        """No loop runs yet."""
        self._go, self._done = queue.Queue(), queue.Queue()
        self._started = self._sampling_s = 0.0
        self._tokens = 0

    def run(self, loop):
        """Starts the loop; its first step waits for `step`."""

        def guarded():
            try:
                loop()
            except BaseException as error:  # told to whoever waits for the step
                self._done.put({"error": repr(error)})

        threading.Thread(target=guarded, daemon=True).start()

    def begin(self):
        """Waits until a step is asked for."""
        self._go.get()
        self._started = time.perf_counter()

    def sampled(self, seconds, tokens):
        """Notes how long the step's sampling took, and its tokens."""
        self._sampling_s, self._tokens = seconds, tokens

    def end(self):
        """Says how long the step took: sampling, and everything else."""
        update_s = time.perf_counter() - self._started - self._sampling_s
        self._done.put({"sampling_s": self._sampling_s, "update_s": update_s, "tokens": self._tokens})

    def step(self):
        """One step: its seconds and tokens, or the error that ended the loop."""
        self._go.put(None)
        return self._done.get()
