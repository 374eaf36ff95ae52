"""Compute behind a row of the report: tokens sampled, FLOPs and device-hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from soar_jax.report.read import Run

COLUMNS = ("million tokens", "PFLOPs", "device-hours")
_WITHOUT_SEARCH = ("base", "hard_only", "self_play")  # policies that owe nothing to an outer loop or its questions

Row = Mapping[str, Any]


def policy_cost(run: Run, policy: str) -> np.ndarray:
    """Cost of one policy of a run, [len(COLUMNS)] float64; NaN where the run did not record it.

    It is that of the policy's training and tests, and of the outer loop and the questions that it comes from, those of
    the `source_run` too. So policies of one run that share a search each count it in full.
    """
    cost = _training_cost(run, policy)
    if policy in _WITHOUT_SEARCH:
        return cost
    cost = cost + _search_cost(run.summary, run.results)
    if run.config.get("source_run"):
        cost = cost + _search_cost(run.source.summary, run.source.results)
    return cost


def run_cost(summary: Row) -> np.ndarray:
    """Cost of a whole run, as `policy_cost`."""
    return _cost(summary, summary, summary.get("wall_s"))


def _training_cost(run: Run, policy: str) -> np.ndarray:
    result = run.results[policy]
    return _cost(result, run.summary, result.get("wall_s"))


def _search_cost(summary: Row, results: Mapping[str, Row]) -> np.ndarray:
    """Cost of a run's outer loop and of writing its questions: the whole, less that of all policies."""
    if not summary:
        return np.full(len(COLUMNS), np.nan)
    # Without outer steps, the time before the first policy is that of finding hard problems, which all methods need.
    seconds = summary.get("search_s") if summary["outer_steps"] else 0.0
    whole = _cost(summary, summary, seconds)
    policies = [_cost(result, summary, 0.0) for result in results.values()]
    return np.asarray(whole - np.sum(policies, axis=0))


def _cost(row: Row, summary: Row, seconds: float | None) -> np.ndarray:
    tokens, flops, devices = row.get("num_sampled_tokens"), row.get("num_flops"), summary.get("num_devices")
    hours = None if seconds is None or devices is None else seconds * devices / 3600
    scaled = (tokens and tokens / 1e6, flops and flops / 1e15, hours)
    return np.array([np.nan if value is None else value for value in scaled], np.float64)
