"""Records that cross module borders: frozen, each field with shape, dtype and unit."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct

Array = Any  # jax.Array on the devices, numpy.ndarray on the host


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """A question with its true answer."""

    id: str  # stable across runs and machines
    question: str
    answer: str
    subject: str
    level: int  # difficulty as its source states it; in the arithmetic world, operations


def normalize_question(question: str) -> str:
    """What two questions have in common that count as one: the text without case and layout."""
    return " ".join(question.lower().split())


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnswer:
    """A question and answer that a teacher wrote; nobody has checked either."""

    question: str
    answer: str


@flax.struct.dataclass(kw_only=True)
class PromptBatch:
    """Right-padded prompts."""

    tokens: Array  # [B, T] int32
    lengths: Array  # [B] int32, tokens before the padding


@flax.struct.dataclass(kw_only=True)
class RolloutBatch:
    """Sampled completions of prompts; a completion ends with its stop token."""

    prompts: PromptBatch  # B rows
    tokens: Array  # [B, C] int32, padded after the stop token
    lengths: Array  # [B] int32, tokens with the stop token
    sampler_logprobs: Array  # [B, C] float32, under the distribution sampled from


@flax.struct.dataclass(kw_only=True)
class TrainBatch:
    """Rollouts with what the policy-gradient loss needs besides."""

    rollouts: RolloutBatch  # B rows
    advantages: Array  # [B] float32
