"""Hard-Only with more than four times the steps (paper, Figure 10: 6,500 on HARP instead of 1,500).

    python experiments/run.py --config=configs/hard_only_long.py

Hardware: 2 CPU cores
Time: not measured
Expect: not measured

Shows: whether longer training does what SOAR does. The figure is made at the scale `llama3.2-3b:harp`.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale, its final students trained longer."""
    return method_config("hard_only_long", scale)  # change any key of a copy of this file
