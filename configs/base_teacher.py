"""Base-T (paper): fresh students trained on questions of the untrained teacher and on hard train.

python experiments/run.py --config=configs/base_teacher.py
"""

import ml_collections

from configs.scales import scale_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Base-T config of a scale."""
    config = scale_config(scale)
    config.method = "base_teacher"
    config.num_outer_steps = 0
    config.curriculum.source = "teacher"
    config.final.students = ("curriculum",)
    return config
