"""Upper bound (paper): fresh students trained on true problems, easy to hard, then on hard train.

python experiments/run.py --config=configs/curated.py
"""

import ml_collections

from configs.scales import scale_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The upper-bound config of a scale."""
    config = scale_config(scale)
    config.method = "curated"
    config.num_outer_steps = 0
    config.curriculum.source = "curated"
    config.final.students = ("curriculum",)
    return config
