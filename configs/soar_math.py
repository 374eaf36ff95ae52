"""SOAR (arXiv 2601.18778): a teacher rewarded with its students' improvement on hard problems.

    python experiments/run.py --config=configs/soar_math.py

Hardware: 2 CPU cores
Time: 546.3 s (row `SOAR`)
Expect: 95.1% pass@1 (row `SOAR: PQ`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core. Alone on two cores a run takes about 4 minutes.

Shows: whether a teacher learns to unlock hard problems that it never sees. docs/running.md has the output of seed 0.
Makes SOAR-PQ, SOAR-PS and inference with Grounded-T of the paper's Tables 4 and 5. Other methods start from its
finished runs.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The SOAR config of a scale."""
    return method_config("soar_math", scale)  # change any key of a copy of this file
