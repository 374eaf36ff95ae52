"""Intrinsic-T (paper): a teacher rewarded for questions of middling solve rate, without grounding.

    python experiments/run.py --config=configs/intrinsic_teacher.py

Reward 1 - |2p - 1|, where p is the share of the base model's answers that agree with the
teacher's. After `num_outer_steps`, fresh students are trained on its questions and on hard train. At the
scale nano SOAR itself ends earlier, as soon as its baseline student solves enough (`outer.stop_at_validation`).
"""

import ml_collections

from configs.scales import scale_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Intrinsic-T config of a scale."""
    config = scale_config(scale)
    config.method = "intrinsic_teacher"
    config.teacher.reward = "learnability"
    config.curriculum.source = "teacher"
    config.final.students = ("curriculum",)
    return config
