"""SeRL (arXiv 2505.20347): self-play from seed problems, with majority answers as labels.

    python experiments/run.py --config=configs/serl.py

Hardware: 2 CPU cores
Time: 56.9 s (row `SeRL`)
Expect: 0.00% pass@1 (row `SeRL`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

Shows: how far students get by questions of their own. In every episode, each student continues openings of hard train
problems to questions of its own. It keeps those that are new, and neither too easy nor too hard by its own votes, and
trains on the majority answers. Makes SeRL of the paper's Tables 4 and 5.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The SeRL config of a scale."""
    return method_config("serl", scale)  # change any key of a copy of this file
