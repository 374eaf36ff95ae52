"""Hard-Only with groups of four times the size (paper: 128 samples per problem instead of 32).

    python experiments/run.py --config=configs/hard_only_large_group.py

Hardware: 2 CPU cores
Time: 45.0 s (row `Hard-Only, larger group`)
Expect: 4.1% pass@1 (row `Hard-Only, larger group`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: whether more compute does what SOAR does. Makes Hard-Only with groups of 128 of the paper's Table 4.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale, its groups four times as large."""
    return method_config("hard_only_large_group", scale)  # change any key of a copy of this file
