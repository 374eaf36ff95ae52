"""Upper bound (paper): fresh students train on true problems that are not hard ones, and on hard train.

    python experiments/run.py --config=configs/curated.py

Shows how far good questions could take the students. At the scale nano, easy problems come before hard ones. At the
other scales all are in one pool with hard train (paper: all 6,750 problems of MATH's train split). Each level has at
most as many problems as a student sees in all its training.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The upper-bound config of a scale."""
    return method_config("curated", scale)  # change any key of a copy of this file
