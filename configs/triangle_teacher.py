"""Teacher rewarded for questions of middling solve rate, each by itself; not one of the paper's methods.

    python experiments/run.py --config=configs/triangle_teacher.py

Hardware: 2 CPU cores
Time: 86.7 s (row `triangle teacher`)
Expect: 0.00% pass@1 (row `triangle teacher`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: what a reward of middling difficulty teaches. The reward of a question is 1 - |2p - 1|, where p is the share of
the base model's answers that agree with the teacher's. Fresh students then train on questions of this teacher and on
hard train.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale."""
    return method_config("triangle_teacher", scale)  # change any key of a copy of this file
