"""Absolute Zero's proposer reward in place of learnability: 1 - p where p > 0, else 0.

    python experiments/run.py --config=configs/absolute_zero_teacher.py

p is the share of the base model's answers that agree with the teacher's; unparsable questions
are punished (arXiv 2505.03335).
"""

import ml_collections

from configs import intrinsic_teacher


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale."""
    config = intrinsic_teacher.get_config(scale)
    config.method = "absolute_zero_teacher"
    config.teacher.reward = "absolute_zero"
    return config
