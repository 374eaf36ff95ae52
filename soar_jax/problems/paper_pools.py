"""The paper's pools of problems, and how many of each its base model never solves (paper, Table 2)."""

from __future__ import annotations

from typing import NamedTuple

from soar_jax.config.run_config import RunConfig

MODEL = "Llama-3.2-3B-Instruct"  # of all counts


class Pool(NamedTuple):
    """A pool, and the halves of its hard (fail@128) problems."""

    num_problems: int
    hard_train: int
    hard_test: int


POOLS = {  # by problems.source
    "math": Pool(num_problems=5_000, hard_train=359, hard_test=360),
    "harp": Pool(num_problems=4_768, hard_train=714, hard_test=714),
    "olympiadbench": Pool(num_problems=674, hard_train=158, hard_test=158),
}


def described(config: RunConfig) -> str:
    """Returns the paper's counts, to be shown behind a run's own; empty if its model or its problems are others."""
    pool = POOLS.get(config.problems.source)
    if pool is None or config.problems.levels or not config.model.source.rstrip("/").endswith(MODEL):
        return ""
    return f" (paper: {pool.hard_train:,} and {pool.hard_test:,} of {pool.num_problems:,})"
