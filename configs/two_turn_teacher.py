"""SOAR whose teacher writes a question first, and its answer in a second turn (paper, D.3 and Table 8).

    python experiments/run.py --config=configs/two_turn_teacher.py:llama3.2-3b

Hardware: accelerators, see docs/devices.md
Time: not measured
Expect: not measured

Shows: whether a question gains by being finished before its answer is thought of. For language models only: the
embedded model knows neither tags nor boxed answers.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The two-turn config of a scale."""
    return method_config("two_turn_teacher", scale)  # change any key of a copy of this file
