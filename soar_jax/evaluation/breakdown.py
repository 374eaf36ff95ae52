"""Breakdown of an evaluation: pass@k with intervals and verdict counts, overall, by subject and by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.evaluation.pass_at_k import pass_at_k
from soar_jax.evaluation.statistics import mean_interval
from soar_jax.grading.grader import Verdict
from soar_jax.types import Problem

Row = dict[str, Any]  # num_problems, verdict counts, and each pass@k with its 95% interval


def breakdown(problems: Sequence[Problem], verdicts: np.ndarray, ks: Sequence[int]) -> dict[str, Any]:
    """Returns the rows `overall`, `subjects` (by name) and `levels` (by number).

    Intervals are a bootstrap over problems. They are too narrow for groups of few problems, and for groups whose
    problems were all solved or all failed.

    Args:
      verdicts: values of `Verdict`, [problems, samples] str.
    """
    subjects = np.array([problem.subject for problem in problems])
    levels = np.array([problem.level for problem in problems])
    return {
        "overall": _row(verdicts, ks),
        "subjects": {str(name): _row(verdicts[subjects == name], ks) for name in np.unique(subjects)},
        "levels": {str(level): _row(verdicts[levels == level], ks) for level in np.unique(levels)},
    }


def _row(verdicts: np.ndarray, ks: Sequence[int]) -> Row:
    num_correct = (verdicts == Verdict.CORRECT.value).sum(axis=1)
    row: Row = {
        "num_problems": len(verdicts),
        "verdicts": {verdict.value: int((verdicts == verdict.value).sum()) for verdict in Verdict},
    }
    for k in ks:
        interval = mean_interval([pass_at_k(num_correct, verdicts.shape[1], k)])
        row[f"pass@{k}"] = {name: getattr(interval, name) for name in ("mean", "low", "high")}
    return row
