"""Upper bound (paper): fresh students trained on true problems that are not hard ones, and on hard train.

At the scale nano easy problems come before hard ones. At the other scales all are in one pool with hard train, as in
the paper; of each level as many at most as a student is asked in all its training (paper: all 6,750 of MATH).

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
