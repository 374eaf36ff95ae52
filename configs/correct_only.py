"""SOAR-PQ from a finished SOAR run, of its right questions only (paper, C.5 and Figure 15).

    python experiments/run.py --config=configs/correct_only.py --config.source_run=WORKDIR

Hardware: 2 CPU cores
Time: 110.3 s (row `SOAR's questions, right ones only`)
Expect: 95.5% pass@1 (row `SOAR's questions, right ones only: PQ`)
Rows are those of benchmarks/nano_study.md: means over all seeds of the newest study at the scale nano, two runs at a
time, each on one busy core.

WORKDIR is that of a finished run of `soar_math`, whose judge (`analysis.judge`) decided which questions have right
answers.

Shows: whether wrong answers harm.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale; `source_run` must be set."""
    return method_config("correct_only", scale)  # change any key of a copy of this file
