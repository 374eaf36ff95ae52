"""Runs a method: `python experiments/run.py --config=configs/soar_math.py [--workdir=DIR] [--config.KEY=VALUE]`."""

from absl import flags
from ml_collections import config_flags

from soar_jax import program
from soar_jax.parallel import hosts, mesh
from soar_jax.reporting import storage

CONFIG = config_flags.DEFINE_config_file("config", None, "Method config file, e.g. configs/soar_math.py:nano.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder or gs://BUCKET/FOLDER of the run; default: runs/METHOD_SCALE_seedN."
)
COORDINATOR = flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where Cloud TPU or SLURM do not say it.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "Processes of the run; with --coordinator.")
PROCESS_ID = flags.DEFINE_integer("process_id", 0, "Which of them this one is; with --coordinator.")
PROFILE = flags.DEFINE_bool("profile", False, "Write a trace of one outer step for xprof to WORKDIR/profile.")


def main() -> None:
    """Runs the config given by the flags."""
    config = program.frozen_config(CONFIG, ("method", "scale", "outer", "inner", "mesh"))
    workdir = storage.to_path(WORKDIR.value or f"runs/{config.method}_{config.scale}_seed{config.seed}")
    hosts.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    mesh.set_num_cpu_devices(config.mesh.cpu_devices)
    from soar_jax.soar import job  # after the CPU is split into devices

    job.run(config, workdir, PROFILE.value)


if __name__ == "__main__":
    program.start(main)
