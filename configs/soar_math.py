"""SOAR (arXiv 2601.18778): a teacher rewarded with its students' improvement on hard problems.

    python experiments/run.py --config=configs/soar_math.py

About 5 minutes on 2 CPU cores. Expect about 89% pass@1 for the promoted student with seed 0 (docs/running.md); four of
five seeds succeed (benchmarks/RESULTS.md). Makes SOAR-PQ, SOAR-PS and inference with Grounded-T of the paper's Tables
4 and 5. Other methods start from its finished runs.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The SOAR config of a scale."""
    return method_config("soar_math", scale)  # change any key of a copy of this file
