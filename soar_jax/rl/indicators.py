"""Indicators of a training's health: what the completions are like, and how sampler, update and reference agree.

Each is a number by name; NaN where there is nothing to count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from soar_jax.parallel import processes
from soar_jax.types import Array, RolloutBatch

Indicators = dict[str, Array]  # by name; of a population [student steps, P]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompletionSums:
    """Sums over the completions of one policy, [], or of a population, [P]; rows without a token do not count."""

    completions: Array = 0
    truncated: Array = 0  # completions without a stop token within the limit
    tokens: Array = 0
    surprisal: Array = 0.0  # -log-probability of the tokens, under the sampling distribution

    @classmethod
    def of(cls, rollouts: RolloutBatch, stop_ids: Sequence[int]) -> CompletionSums:
        """Sums over rollouts, whose tokens are padded to the limit of a completion."""
        tokens, lengths, logprobs = (
            processes.to_host(leaf) for leaf in (rollouts.tokens, rollouts.lengths, rollouts.sampler_logprobs)
        )
        limit = tokens.shape[-1]
        is_stopped = np.isin(tokens[..., -1], stop_ids)
        in_completion = np.arange(limit) < lengths[..., None]
        return cls(
            completions=np.sum(lengths > 0, axis=-1),
            truncated=np.sum((lengths == limit) & ~is_stopped, axis=-1),
            tokens=np.sum(lengths, axis=-1, dtype=np.int64),
            surprisal=-np.sum(logprobs, axis=(-2, -1), dtype=np.float64, where=in_completion),
        )

    def __add__(self, other: CompletionSums) -> CompletionSums:
        return CompletionSums(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def indicators(self) -> Indicators:
        """Means over completions; the estimate of the entropy is the mean over their tokens of -log-probability."""
        with np.errstate(invalid="ignore"):
            return {
                "entropy_estimate": np.divide(self.surprisal, self.tokens),
                "truncated_share": np.divide(self.truncated, self.completions),
                "completion_tokens": np.divide(self.tokens, self.completions),
            }


def stack_steps(steps: Sequence[Indicators]) -> Indicators:
    """Stacks the indicators [P] of student steps."""
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


def join_students(waves: Sequence[Indicators]) -> Indicators:
    """Joins the indicators [student steps, P] of waves of students."""
    return {name: np.concatenate([wave[name] for wave in waves], axis=1) for name in waves[0]}


def means(indicators: Indicators, prefix: str = "") -> dict[str, float | None]:
    """The mean of each indicator, by its name with a prefix."""
    return {f"{prefix}{name}": mean(values) for name, values in indicators.items()}


def mean(values: Array) -> float | None:
    """The mean of the values that are not NaN; None if there are none."""
    return None if np.isnan(values).all() else float(np.nanmean(values))
