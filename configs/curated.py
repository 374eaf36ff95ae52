"""Upper bound (paper): fresh students train on true problems that are not hard ones, and on hard train.

    python experiments/run.py --config=configs/curated.py

Hardware: 2 CPU cores
Time: 110.8 s (row `curated (upper bound)`)
Expect: 96.9% pass@1 (row `curated (upper bound)`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: how far good questions could take the students. Language models have all of MATH's train split, and make that
row of the paper's Tables 4, 5 and 6. At the scale nano, problems are generated, and easy ones come before hard ones.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The upper-bound config of a scale."""
    return method_config("curated", scale)  # change any key of a copy of this file
