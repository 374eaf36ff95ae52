"""SOAR-PQ from a finished SOAR run: fresh students train on its promotion questions and on hard train.

    python experiments/run.py --config=configs/promotion_questions.py --config.source_run=WORKDIR

Hardware: 2 CPU cores
Time: not measured
Expect: not measured

WORKDIR is that of a finished run of `soar_math`.

Shows: what its promotion questions are worth to more students than that run has, or on another benchmark. Makes
SOAR-PQ of the paper's Table 6 at the scale `llama3.2-3b:olympiadbench`.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale; `source_run` must be set."""
    return method_config("promotion_questions", scale)  # change any key of a copy of this file
