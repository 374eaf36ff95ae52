"""Intrinsic-T (paper, B.4): a teacher rewarded for questions that can be learnt, without hard problems.

    python experiments/run.py --config=configs/intrinsic_teacher.py

Hardware: 2 CPU cores
Time: 89.9 s (row `Intrinsic-T`)
Expect: 0.00% pass@1 (row `Intrinsic-T`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: what a reward without hard problems teaches. The reward of a question is 1 - p where p > 0, else 0. p is the
share of 32 answers of the base model that agree with the teacher's. All rollouts of a dataset get its mean. Fresh
students then train on questions of this teacher and on hard train. Makes Intrinsic-T of the paper's Tables 4 and 5.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Intrinsic-T config of a scale."""
    return method_config("intrinsic_teacher", scale)  # change any key of a copy of this file
