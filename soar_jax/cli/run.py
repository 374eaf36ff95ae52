"""Runs a method: `python experiments/run.py --config=configs/soar_math.py [--workdir=DIR] [--config.KEY=VALUE]`."""

from __future__ import annotations

import sys

from absl import flags

from soar_jax.cli import command

CONFIG = command.define_config_flag()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder or gs://BUCKET/FOLDER of the run; default: runs/METHOD_SCALE_seedN."
)
PROCESSES = command.define_process_flags()
PROFILE = flags.DEFINE_bool("profile", False, "Write a trace of one outer step for xprof to WORKDIR/profile.")
HELP_CONFIG = flags.DEFINE_bool("help_config", False, "List every config key: value, meaning, the paper's value.")


def main() -> None:
    """Runs the config given by the flags."""
    config = command.run_config(CONFIG)
    if HELP_CONFIG.value:
        from soar_jax.config.reference import table

        sys.stdout.write(table(config))
        return
    from soar_jax.storage import files  # seconds to import

    scale = config.scale.replace(":", "-")  # a colon is not safe in a file's name
    workdir = files.to_path(WORKDIR.value or f"runs/{config.method}_{scale}_seed{config.seed}")
    PROCESSES.connect(config.mesh.cpu_devices)
    from soar_jax.runs.run import run  # after the CPU is split into devices

    run(config, workdir, PROFILE.value)


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv)
