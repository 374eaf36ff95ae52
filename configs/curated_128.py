"""As the upper bound, with only 128 problems (paper: 128 of MATH's train split).

    python experiments/run.py --config=configs/curated_128.py

Hardware: 2 CPU cores
Time: not measured
Expect: not measured

Shows: what as many true problems are worth as are sampled from a teacher. Makes that row of the paper's Tables 4, 5
and 6.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale, with 128 problems."""
    return method_config("curated_128", scale)  # change any key of a copy of this file
