"""Hard-Only with four times the samples a problem (paper: groups of 128 instead of 32).

python experiments/run.py --config=configs/hard_only_large_group.py
"""

import ml_collections

from configs import hard_only


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale, its groups four times as large."""
    config = hard_only.get_config(scale)
    config.method = "hard_only_large_group"
    config.inner.group_size *= 4
    return config
