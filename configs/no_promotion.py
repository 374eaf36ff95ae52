"""Grounded-T without promotion (paper, Figures 11 and 12): students always start from the base model.

    python experiments/run.py --config=configs/no_promotion.py

Hardware: 2 CPU cores
Time: 619.3 s (row `Grounded-T, no promotion`)
Expect: 1.5% pass@1 (row `Grounded-T, no promotion: PQ`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: what promotion is worth. The teacher is rewarded as in SOAR, but no student ever becomes the baseline. Fresh
students then train on questions of this teacher and on hard train.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale, without promotion."""
    return method_config("no_promotion", scale)  # change any key of a copy of this file
