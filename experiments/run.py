"""Runs a method: `python experiments/run.py --config=configs/soar_math.py [--workdir=DIR] [--config.KEY=VALUE]`."""

import pathlib

from absl import flags
from ml_collections import config_flags

from soar_jax import program
from soar_jax.parallel import mesh

CONFIG = config_flags.DEFINE_config_file("config", None, "Method config file, e.g. configs/soar_math.py:nano.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: runs/METHOD_SCALE_seedN.")


def main() -> None:
    """Runs the config given by the flags."""
    config = program.frozen_config(CONFIG, ("method", "scale", "outer", "inner", "mesh"))
    workdir = WORKDIR.value or f"runs/{config.method}_{config.scale}_seed{config.seed}"
    mesh.set_num_cpu_devices(config.mesh.cpu_devices)
    from soar_jax.soar import job  # after the CPU is split into devices

    job.run(config, pathlib.Path(workdir).expanduser())


if __name__ == "__main__":
    program.start(main)
