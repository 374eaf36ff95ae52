"""Measures a policy's pass@k on a benchmark: `python experiments/evaluate.py --config=configs/soar_math.py --out=DIR`.

The same command goes on where it was stopped.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from soar_jax import program
from soar_jax.parallel import mesh
from soar_jax.settings import require

CONFIG = config_flags.DEFINE_config_file("config", None, "Method config file, e.g. configs/soar_math.py:nano.")
MODEL = flags.DEFINE_string(
    "model",
    None,
    "A hub id, a Hugging Face folder, a GGUF file, or a run's workdir (:student or :teacher behind it); default: the "
    "config's model.source.",
)
OUT = flags.DEFINE_string("out", None, "Folder for evaluation.json and completions.jsonl.")


def main() -> None:
    """Runs the config given by the flags."""
    config = program.frozen_config(CONFIG, ("problems", "prompts", "grading", "evaluation", "hard_subset", "mesh"))
    require(bool(OUT.value), "--out is missing; name a folder for the results")
    mesh.set_num_cpu_devices(config.mesh.cpu_devices)
    from soar_jax.soar import exam  # after the CPU is split into devices

    exam.evaluate(config, MODEL.value or config.model.source, pathlib.Path(OUT.value).expanduser())


if __name__ == "__main__":
    program.start(main)
