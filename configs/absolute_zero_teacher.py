"""Teacher with Absolute Zero's proposer reward: 1 - p where p > 0, else 0 (arXiv 2505.03335).

    python experiments/run.py --config=configs/absolute_zero_teacher.py

Hardware: 2 CPU cores
Time: not measured
Expect: not measured

Shows: what its reward teaches a teacher here. p is the share of the base model's answers that agree with the
teacher's. Each question has its own reward; the paper's Intrinsic-T, `intrinsic_teacher`, gives all rollouts of a
dataset its mean. Not one of the paper's methods.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale."""
    return method_config("absolute_zero_teacher", scale)  # change any key of a copy of this file
