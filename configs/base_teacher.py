"""Base-T (paper): fresh students train on questions of the untrained teacher and on hard train.

    python experiments/run.py --config=configs/base_teacher.py

Hardware: 2 CPU cores
Time: 45.6 s (row `Base-T`)
Expect: 17.7% pass@1 (row `Base-T`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: what questions of the base model are worth without an outer loop. The paper chose its schedule on MATH with it
(Figure 7).
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Base-T config of a scale."""
    return method_config("base_teacher", scale)  # change any key of a copy of this file
