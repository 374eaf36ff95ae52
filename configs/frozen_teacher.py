"""The control for SOAR: the same selection and promotion, but the teacher never learns.

    python experiments/run.py --config=configs/frozen_teacher.py

What SOAR gains over this is due to learning to teach; what this gains over Hard-Only is due
to picking the best of g datasets.
"""

import ml_collections

from configs import soar_math


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The frozen-teacher config of a scale."""
    config = soar_math.get_config(scale)
    config.method = "frozen_teacher"
    config.teacher.train = False
    config.final.students = ("curriculum", "promoted")
    return config
