"""Rejection sampling of the teacher's completions (paper, B.2).

The RLOO gradient needs no correction for it: its advantages sum to zero, so that the gradient of the policy conditioned
on acceptance equals that of the policy itself (paper, Proposition 1).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from soar_jax.errors import SettingsError
from soar_jax.model.parameters import Params
from soar_jax.problems.prompts import Malformed
from soar_jax.rl.indicators import CompletionSums
from soar_jax.soar.setup import Setup
from soar_jax.soar.teacher_draws import TeacherDraw, draw_completions
from soar_jax.types import QuestionAnswer, RolloutBatch, map_rows

_SHOWN_CHARACTERS = 80  # of a malformed completion, in the error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accepted:
    """The first g * n well-formed completions, in order of sampling."""

    turns: tuple[RolloutBatch, ...]  # as in `TeacherDraw`
    items: tuple[QuestionAnswer, ...]
    num_rejected: int  # malformed completions before the last accepted one
    completions: CompletionSums  # over all draws


def draw_until_well_formed(setup: Setup, policy: Params, step: int) -> Accepted:
    """Draws g * n completions at a time until g * n are well formed.

    Raises:
      SettingsError: after `teacher.max_draws` draws there are fewer; says what most of the others lack.
    """
    count = setup.config.num_written
    turns: tuple[RolloutBatch, ...] = ()
    items: list[QuestionAnswer] = []
    rejected: list[tuple[Malformed, str]] = []  # with the beginning of the text
    completions = CompletionSums()
    for number in range(setup.config.teacher.max_draws):
        stream, indices = ("teacher_resample", (step, number)) if number else ("teacher_sample", (step,))
        draw = draw_completions(setup, policy, stream, *indices)
        completions += draw.completion_sums(setup)
        taken = [index for index, item in enumerate(draw.items) if isinstance(item, QuestionAnswer)]
        taken = taken[: count - len(items)]
        turns = _take_rows(turns or draw.turns, draw.turns, _sources(taken, len(items), count))
        items += [item for index in taken if isinstance(item := draw.items[index], QuestionAnswer)]
        setup.show_progress("well-formed questions", len(items), count, "")
        if len(items) == count:
            num_rejected = len(rejected) + taken[-1] + 1 - len(taken)
            return Accepted(turns=turns, items=tuple(items), num_rejected=num_rejected, completions=completions)
        rejected += _malformed(draw)
    raise SettingsError(_too_few(step, rejected, num_accepted=len(items), num_needed=count))


def _sources(taken: Sequence[int], start: int, count: int) -> np.ndarray:
    """For each of `count` kept rows the drawn row that replaces it, from row `start` on; -1 for others."""
    sources = np.full(count, -1, np.int32)
    sources[start : start + len(taken)] = taken
    return sources


@jax.jit
def _take_rows(
    kept: tuple[RolloutBatch, ...], drawn: tuple[RolloutBatch, ...], sources: jax.Array
) -> tuple[RolloutBatch, ...]:
    """Replaces row i of `kept` by row sources[i] of `drawn` unless that is negative; the same program for all draws.

    The prompts of the first turn are those of every draw. Those of the second are taken with their rows, one a row.
    """

    def take(kept: jax.Array, drawn: jax.Array) -> jax.Array:
        is_taken = (sources >= 0).reshape(-1, *(1,) * (kept.ndim - 1))
        return jnp.where(is_taken, drawn[sources], kept)

    first, *second = (map_rows(take, *turn) for turn in zip(kept, drawn, strict=True))
    return first, *(
        dataclasses.replace(
            rows, prompts=jax.tree.map(take, kept[1].prompts, drawn[1].prompts), prompt_of=jnp.arange(len(sources))
        )
        for rows in second
    )


def _malformed(draw: TeacherDraw) -> list[tuple[Malformed, str]]:
    return [
        (item, text[:_SHOWN_CHARACTERS])
        for item, text in zip(draw.items, draw.texts, strict=True)
        if isinstance(item, Malformed)
    ]


def _too_few(step: int, rejected: Sequence[tuple[Malformed, str]], *, num_accepted: int, num_needed: int) -> str:
    """The error message; model text in it is escaped."""
    reasons = Counter(item.reason for item, _ in rejected)
    reason, frequency = reasons.most_common(1)[0]
    example = next(text for item, text in rejected if item.reason == reason)
    return (
        f"outer step {step}: {num_accepted} of the teacher's {num_accepted + len(rejected)} completions are well "
        f"formed, and {num_needed} are needed; {frequency} have {reason}, as {example!r}. Resume with a higher "
        "teacher.max_draws; or start anew in another --workdir with another prompts.teacher, or with "
        "teacher.malformed='penalise'"
    )
