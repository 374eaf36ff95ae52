"""Control for SOAR: the same selection and promotion, but the teacher never learns.

    python experiments/run.py --config=configs/frozen_teacher.py

Hardware: 2 CPU cores
Time: about 15 minutes, two runs at a time
Expect: 0.00% pass@1 (benchmarks/nano_study.md)

Shows: what learning to teach adds, which is SOAR's gain over this. This method's gain over Hard-Only is due to picking
the best of g datasets. Not one of the paper's methods.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The frozen-teacher config of a scale."""
    return method_config("frozen_teacher", scale)  # change any key of a copy of this file
