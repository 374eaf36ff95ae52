"""SeRL (arXiv 2505.20347): self-play from seed problems with majority-vote self-reward and filters.

    python experiments/run.py --config=configs/serl.py

Every episode each student continues openings of hard train problems to questions of its own,
keeps those that are new and neither trivial nor hopeless by its own votes, and trains on the
majority answers.
"""

import ml_collections

from configs.scales import scale_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The SeRL config of a scale."""
    config = scale_config(scale)
    config.method = "serl"
    config.num_outer_steps = 0
    config.curriculum.source = "none"
    config.final.students = ("self_play",)
    return config
