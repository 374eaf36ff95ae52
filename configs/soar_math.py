"""SOAR (arXiv 2601.18778): a teacher rewarded with its students' improvement on hard problems.

python experiments/run.py --config=configs/soar_math.py
"""

import ml_collections

from configs.scales import scale_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The SOAR config of a scale."""
    config = scale_config(scale)
    config.method = "soar_math"
    config.final.students = ("curriculum", "promoted", "random_answers", "hard_only")
    if config.problems.source == "arithmetic":  # elsewhere nobody knows the true answer of a new question
        config.final.students = ("curriculum", "promoted", "true_answers", "random_answers", "hard_only")
    return config
