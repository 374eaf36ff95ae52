"""Grounded-T without promotion (paper, Figures 11 and 12): students always start from the base model.

    python experiments/run.py --config=configs/no_promotion.py

Hardware: 2 CPU cores
Time: not measured
Expect: 32.3% pass@1 with earlier settings (benchmarks/HISTORY.md)

Shows: what promotion is worth. The teacher is rewarded as in SOAR, but no student ever becomes the baseline. Fresh
students then train on questions of this teacher and on hard train.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale, without promotion."""
    return method_config("no_promotion", scale)  # change any key of a copy of this file
