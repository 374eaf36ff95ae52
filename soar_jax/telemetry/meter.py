"""What the devices of a run do, phase by phase: tokens, operations, bytes, and the time in which they are busy."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np

from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import LoRASettings
from soar_jax.telemetry import costs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """Work of all devices together: operations and bytes that the rows need, without padding or waste in them.

    Rows that only fill up a call of one compiled shape are counted as others are.
    """

    sampled_tokens: int = 0
    flops: float = 0.0
    decoding_bytes: float = 0.0  # that decoding has to read: weights once a step, and each row's own cache
    busy_s: float = 0.0

    def __add__(self, other: Work) -> Work:
        """The sum of both."""
        return Work(**{name: value + getattr(other, name) for name, value in dataclasses.asdict(self).items()})


class WorkMeter:
    """Adds up work, each piece under the phase in which it was begun."""

    def __init__(self, model: ModelConfig, adapting: LoRASettings | None = None) -> None:
        """Nothing has been done, in no phase.

        Args:
          adapting: the adapters that are trained in the place of the model.
        """
        self.num_tokens = 0  # sampled, since the start
        self._model, self._adapting = model, adapting
        self._phase = ""
        self._work: dict[str, Work] = {}
        self._lock = threading.Lock()
        self._begun: queue.Queue[tuple[str, float, jax.Array]] = queue.Queue()
        self._watching: threading.Thread | None = None

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Work that is begun in this context is of that phase."""
        outer, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = outer

    def take(self) -> dict[str, Work]:
        """The work of each phase since the last call, when all that was begun is done."""
        self._begun.join()
        with self._lock:
            taken, self._work = self._work, {}
        return taken

    def watch(self, result: jax.Array) -> None:
        """Notes when the devices are done with a program that has just been started, by one of its results.

        Args:
          result: is never given away to another program.
        """
        if self._watching is None:
            self._watching = threading.Thread(target=self._watch, daemon=True)
            self._watching.start()
        self._begun.put((self._phase, time.perf_counter(), result))

    def _watch(self) -> None:
        end = 0.0
        while True:
            phase, begun, result = self._begun.get()
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # whoever uses the result says why
                result.block_until_ready()
            # Programs run one after another, so one that was started early begins when the one before it ends.
            before, end = end, time.perf_counter()
            self._add(Work(busy_s=end - max(begun, before)), phase)
            del result
            self._begun.task_done()

    def prefilled(self, prompt_lengths: np.ndarray) -> None:
        """Adds prompts that were read."""
        flops = prompt_lengths.size * costs.prefill_flops(self._model, round(float(prompt_lengths.mean())))
        self._add(Work(flops=flops), self._phase)

    def sampled(self, prompt_lengths: np.ndarray, lengths: np.ndarray, num_slots: int) -> None:
        """Adds completions: lengths [R] of their prompts and their own; a read of the weights serves `num_slots`."""
        num_tokens, prompt, completion = int(lengths.sum()), float(prompt_lengths.mean()), float(lengths.mean())
        read = num_tokens / num_slots * costs.matrix_bytes(self._model)
        context = float(np.sum(lengths * (prompt_lengths.reshape(-1) + lengths / 2)))
        read += context * costs.cache_bytes_per_token(self._model)
        flops = lengths.size * costs.decode_flops(self._model, round(prompt), max(1, round(completion)))
        self.num_tokens += num_tokens
        self._add(Work(sampled_tokens=num_tokens, flops=flops, decoding_bytes=read), self._phase)

    def trained(self, num_rows: int, prompt_tokens: float, completion_tokens: float, has_reference: bool) -> None:
        """Adds rows that were trained on, of so many tokens on average."""
        if num_rows == 0:
            return
        prompt, completion = round(prompt_tokens), max(1, round(completion_tokens))
        flops = costs.useful_training_flops(self._model, prompt, completion_tokens=completion, adapting=self._adapting)
        if has_reference:
            flops += costs.reference_flops(self._model, prompt, completion)
        self._add(Work(flops=num_rows * flops), self._phase)

    def _add(self, work: Work, phase: str) -> None:
        with self._lock:
            self._work[phase] = self._work.get(phase, Work()) + work
