"""Grounded-T (paper): fresh students train on questions of a finished SOAR run's teacher and on hard train.

    python experiments/run.py --config=configs/grounded_teacher.py --config.source_run=WORKDIR

Hardware: 2 CPU cores
Time: 26.9 s (row `Grounded-T`)
Expect: 76.5% pass@1 (row `Grounded-T: PQ`)
Rows are those of benchmarks/RESULTS.md: means over 5 seeds at the scale nano, as it was in that study.

WORKDIR is that of a finished run of `soar_math`, of the same seed where the problems are the same.

Shows: what the trained teacher's questions are worth. Makes Grounded-T of the paper's Tables 4, 5 and 9, and of Table
6 at the scale `llama3.2-3b:olympiadbench`.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Grounded-T config of a scale; `source_run` must be set."""
    return method_config("grounded_teacher", scale)  # change any key of a copy of this file
