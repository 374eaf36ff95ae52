"""Runs a method: `python experiments/run.py --config=configs/soar_math.py [--workdir=DIR] [--config.KEY=VALUE]`."""

from absl import flags
from ml_collections import config_flags

from soar_jax.cli import command
from soar_jax.storage import files

CONFIG = config_flags.DEFINE_config_file("config", None, "Method config file, e.g. configs/soar_math.py:nano.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder or gs://BUCKET/FOLDER of the run; default: runs/METHOD_SCALE_seedN."
)
PROCESSES = command.define_process_flags()
PROFILE = flags.DEFINE_bool("profile", False, "Write a trace of one outer step for xprof to WORKDIR/profile.")


def main() -> None:
    """Runs the config given by the flags."""
    config = command.frozen_config(CONFIG, ("method", "scale", "outer", "inner", "mesh"))
    workdir = files.to_path(WORKDIR.value or f"runs/{config.method}_{config.scale}_seed{config.seed}")
    PROCESSES.connect(config.mesh.cpu_devices)
    from soar_jax.runs import run  # after the CPU is split into devices

    run.run(config, workdir, PROFILE.value)


if __name__ == "__main__":
    command.start(main)
