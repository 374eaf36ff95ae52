"""Grounded-T (paper): fresh students train on questions of a finished SOAR run's teacher and on hard train.

    python experiments/run.py --config=configs/grounded_teacher.py --config.source_run=WORKDIR

Hardware: 2 CPU cores
Time: 87.3 s (row `Grounded-T`)
Expect: 68.3% pass@1 (row `Grounded-T: PQ`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

WORKDIR is that of a finished run of `soar_math`, of the same seed where the problems are the same.

Shows: what the trained teacher's questions are worth. Makes Grounded-T of the paper's Tables 4, 5 and 9, and of Table
6 at the scale `llama3.2-3b:olympiadbench`.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The Grounded-T config of a scale; `source_run` must be set."""
    return method_config("grounded_teacher", scale)  # change any key of a copy of this file
