"""Tests the promoted student and the teacher of a finished SOAR run; trains nobody.

    python experiments/run.py --config=configs/inference.py --config.source_run=WORKDIR

Hardware: 2 CPU cores
Time: 20.5 s (row `SOAR, inference`)
Expect: 91.1% pass@1 (row `SOAR, inference: PS`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

WORKDIR is that of a finished run of `soar_math`.

Shows: whether teaching and solving are apart. Makes inference with Grounded-T of the paper's Tables 4 and 5, and
SOAR-PS of Table 6 at the scale `llama3.2-3b:olympiadbench`.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale; `source_run` must be set."""
    return method_config("inference", scale)  # change any key of a copy of this file
