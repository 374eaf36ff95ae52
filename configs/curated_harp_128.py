"""As the upper bound, with 128 problems of HARP (paper).

    python experiments/run.py --config=configs/curated_harp_128.py:llama3.2-3b

Hardware: accelerators, see docs/devices.md
Time: not measured
Expect: not measured

Shows: what true problems of another benchmark are worth, or on HARP those that are not hard. Needs HARP.jsonl.zip of
HARP's authors in the current folder. Makes that row of the paper's Tables 4, 5 and 6. At the scale nano it is
`curated_128`.
"""

import ml_collections

from soar_jax.config import method_config


def get_config(scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a scale, with 128 problems of HARP."""
    return method_config("curated_harp_128", scale)  # change any key of a copy of this file
