"""Counts the work of a run's devices per phase: tokens, FLOPs, bytes and busy time."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from soar_jax.config.policy_sections import LoRASection
from soar_jax.model.config import ModelConfig
from soar_jax.parallel import processes
from soar_jax.telemetry import costs
from soar_jax.types import RolloutBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """Work summed over devices: what the rows need, without padding of tokens; rows that pad a batch count."""

    sampled_tokens: int = 0
    flops: float = 0.0
    decoding_bytes: float = 0.0  # that decoding must read: weights once per step, and the KV cache of each row
    busy_s: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(**{name: value + getattr(other, name) for name, value in dataclasses.asdict(self).items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedRows:
    """Rows that an update trains on, with mean token counts."""

    num_rows: int
    num_prompts: int  # that the rows share
    prompt_tokens: float
    completion_tokens: float

    @classmethod
    def of(cls, rollouts: RolloutBatch, is_counted: np.ndarray) -> TrainedRows:
        """Counts those rows of one policy [R], or of a population [P, R], that `is_counted`, and their prompts."""
        prompt_of, lengths = processes.to_host(rollouts.prompt_of), processes.to_host(rollouts.lengths)
        num_prompts = rollouts.prompts.lengths.shape[-1]
        policy = np.arange(prompt_of.size).reshape(prompt_of.shape) // prompt_of.shape[-1]
        return cls(
            num_rows=int(is_counted.sum()),
            num_prompts=np.unique((policy * num_prompts + prompt_of)[is_counted]).size,
            prompt_tokens=float(processes.to_host(rollouts.prompts.lengths).mean()),
            completion_tokens=float(lengths[is_counted].mean()) if is_counted.any() else 0.0,
        )

    @property
    def prompt(self) -> int:
        """Tokens of a prompt."""
        return round(self.prompt_tokens)

    @property
    def completion(self) -> int:
        """Tokens of a completion, at least one."""
        return max(1, round(self.completion_tokens))

    def sum(self, cost: Callable[[int], int]) -> int:
        """Sums the cost of all prompts and rows, where `cost` is that of a prompt with 0 or 1 completions."""
        return self.num_prompts * cost(0) + self.num_rows * (cost(1) - cost(0))


class WorkMeter:
    """Sums work per phase; work belongs to the phase in which it was started."""

    def __init__(self, model: ModelConfig, lora_config: LoRASection | None = None) -> None:
        """`lora_config` describes adapters that are trained instead of the model."""
        self.num_tokens = 0  # sampled since the start
        self.num_flops = 0  # since the start, as in `Work`; an integer, so that sums are exact
        self._model, self._lora_config = model, lora_config
        self._phase = ""
        self._work: dict[str, Work] = {}
        self._lock = threading.Lock()
        self._started: queue.Queue[tuple[str, float, jax.Array]] = queue.Queue()
        self._watcher: threading.Thread | None = None

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Assigns work that is started in this context to a phase."""
        outer, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = outer

    def take(self) -> dict[str, Work]:
        """Waits for all started programs, and returns and clears the work per phase."""
        self._started.join()
        with self._lock:
            taken, self._work = self._work, {}
        return taken

    def watch(self, result: jax.Array) -> None:
        """Times a program that was just dispatched, by one of its results, which must never be donated."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        self._started.put((self._phase, time.perf_counter(), result))

    def _watch(self) -> None:
        end = 0.0
        while True:
            phase, started, result = self._started.get()
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # raised again where the result is used
                result.block_until_ready()
            # Programs run in order, so a program dispatched early begins when the previous one ends.
            previous_end, end = end, time.perf_counter()
            self._add(Work(busy_s=end - max(started, previous_end)), phase)
            del result
            self._started.task_done()

    def add_prefill(self, prompt_lengths: np.ndarray) -> None:
        """Adds prefilled prompts of lengths [R]."""
        flops = prompt_lengths.size * costs.prefill_flops(self._model, round(float(prompt_lengths.mean())))
        self._add(Work(flops=flops), self._phase)

    def add_completions(self, prompt_lengths: np.ndarray, lengths: np.ndarray, num_slots: int) -> None:
        """Adds completions of lengths [R] to prompts of lengths [R]; `num_slots` rows share a read of the weights."""
        num_tokens, prompt, completion = int(lengths.sum()), float(prompt_lengths.mean()), float(lengths.mean())
        read = num_tokens / num_slots * costs.matrix_bytes(self._model)
        context = float(np.sum(lengths * (prompt_lengths.reshape(-1) + lengths / 2)))
        read += context * costs.cache_bytes_per_token(self._model)
        flops = lengths.size * costs.decode_flops(self._model, round(prompt), max(1, round(completion)))
        self.num_tokens += num_tokens
        self._add(Work(sampled_tokens=num_tokens, flops=flops, decoding_bytes=read), self._phase)

    def add_training(self, rows: TrainedRows) -> None:
        """Adds rows that were trained on."""
        if rows.num_rows == 0:
            return

        def flops(num_completions: int) -> int:
            """Of a prompt with some completions."""
            return costs.useful_training_flops(
                self._model,
                rows.prompt,
                completion_tokens=rows.completion,
                lora_config=self._lora_config,
                num_completions=num_completions,
            )

        self._add(Work(flops=rows.sum(flops)), self._phase)

    def add_reference(self, rows: TrainedRows) -> None:
        """Adds rows that the reference policy evaluated."""

        def flops(num_completions: int) -> int:
            return costs.reference_flops(self._model, rows.prompt, rows.completion, num_completions=num_completions)

        self._add(Work(flops=rows.sum(flops)), self._phase)

    def _add(self, work: Work, phase: str) -> None:
        with self._lock:
            self.num_flops += int(work.flops)
            self._work[phase] = self._work.get(phase, Work()) + work
