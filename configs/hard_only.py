"""Hard-Only (paper: the main baseline): students trained on the hard problems themselves.

python experiments/run.py --config=configs/hard_only.py
"""

import ml_collections

from configs.scales import scale_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Hard-Only config of a scale."""
    config = scale_config(scale)
    config.method = "hard_only"
    config.num_outer_steps = 0
    config.curriculum.source = "none"
    config.final.students = ("hard_only",)
    return config
