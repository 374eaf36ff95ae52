"""Teacher rewarded for questions of middling solve rate, without grounding; our variant of the paper's Intrinsic-T.

    python experiments/run.py --config=configs/intrinsic_teacher.py

The reward of a question is 1 - |2p - 1|, where p is the share of the base model's answers that agree with the
teacher's. The paper's Intrinsic-T is 1 - p where p > 0, averaged over a dataset. After `num_outer_steps`, fresh
students train on questions of this teacher and on hard train. At the scale nano, SOAR itself ends earlier, as soon as
its baseline student solves enough (`outer.stop_at_validation`).
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Intrinsic-T config of a scale."""
    return method_config("intrinsic_teacher", scale)  # change any key of a copy of this file
