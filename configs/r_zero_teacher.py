"""R-Zero's proposer reward in place of learnability: min(p, 1 - p) minus a repetition penalty.

    python experiments/run.py --config=configs/r_zero_teacher.py

p is the share of answers that agree with their majority; the penalty is the share of the batch in
the question's BLEU cluster (arXiv 2508.05004).
"""

import ml_collections

from configs import intrinsic_teacher


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale."""
    config = intrinsic_teacher.get_config(scale)
    config.method = "r_zero_teacher"
    config.teacher.reward = "r_zero"
    return config
