"""Teacher with R-Zero's proposer reward: min(p, 1 - p) minus a repetition penalty (arXiv 2508.05004).

    python experiments/run.py --config=configs/r_zero_teacher.py

Hardware: 2 CPU cores
Time: not measured
Expect: not measured

Shows: what its reward teaches a teacher here. p is the share of the base model's answers that agree with their
majority. The penalty is the share of the batch in the question's BLEU cluster. Each question has its own reward. Not
one of the paper's methods.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale."""
    return method_config("r_zero_teacher", scale)  # change any key of a copy of this file
