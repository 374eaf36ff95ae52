"""Frozen records that modules exchange."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax

Array = Any  # jax.Array on devices, numpy.ndarray on the host


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A question and its ground-truth answer."""

    id: str  # stable across runs and machines
    question: str
    answer: str
    subject: str
    level: int  # difficulty given by the source; operations in the arithmetic world


def normalize_question(question: str) -> str:
    """Returns the text in lower case with single spaces; equal for questions that count as the same."""
    return " ".join(question.lower().split())


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnswer:
    """A question and answer written by a teacher, unverified."""

    question: str
    answer: str


@flax.struct.dataclass(kw_only=True)
class PromptBatch:
    """Right-padded prompts."""

    tokens: Array  # [B, T] int32
    lengths: Array  # [B] int32, tokens before the padding


@flax.struct.dataclass(kw_only=True)
class RolloutBatch:
    """Sampled completions of prompts, ending with their stop token; many completions share a prompt."""

    prompts: PromptBatch  # Q prompts
    prompt_of: Array  # [B] int32, index of each completion's prompt
    tokens: Array  # [B, C] int32, padded after the stop token
    lengths: Array  # [B] int32, tokens including the stop token
    sampler_logprobs: Array  # [B, C] float32, under the sampling distribution

    def without_prompts(self) -> RolloutBatch:
        """Returns the arrays alone that have a row for each completion."""
        return dataclasses.replace(self, prompts=None)  # type: ignore[arg-type]


def map_rows(function: Callable[..., Array], rollouts: RolloutBatch, *others: RolloutBatch) -> RolloutBatch:
    """Applies `function` to the arrays with a row for each completion; the prompts are those of the first batch."""
    rows: RolloutBatch = jax.tree.map(function, *(batch.without_prompts() for batch in (rollouts, *others)))
    return dataclasses.replace(rows, prompts=rollouts.prompts)


@flax.struct.dataclass(kw_only=True)
class TrainBatch:
    """Rollouts and what an update needs of them."""

    rollouts: RolloutBatch  # B rows
    advantages: Array  # [B] float32
    reference_logprobs: Array | None = None  # [B, C] float32; None without a KL term in the loss


# Called with a unit's name, the number done in the current phase and in total, and a note: shows how far it is.
ShowProgress = Callable[[str, int, int, str], None]


def show_nothing(unit: str, done: int, total: int, note: str) -> None:
    """Leaves progress unshown."""


# Called with a phase's name; gives a context in which the phase runs (shown and timed).
Phase = Callable[[str], contextlib.AbstractContextManager[None]]
