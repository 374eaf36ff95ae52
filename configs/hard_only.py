"""Hard-Only (paper: the main baseline): students train on the hard problems themselves.

    python experiments/run.py --config=configs/hard_only.py

Hardware: 2 CPU cores
Time: 40.4 s (row `Hard-Only`)
Expect: 0.00% pass@1 (row `Hard-Only`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: how far RL gets without questions of a teacher. Makes Hard-Only of the paper's Tables 4, 5, 6 and 9.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Hard-Only config of a scale."""
    return method_config("hard_only", scale)  # change any key of a copy of this file
