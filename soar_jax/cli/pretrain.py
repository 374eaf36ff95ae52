"""Makes the embedded model: `python experiments/pretrain.py --config=configs/pretrain_nano.py --out=DIR`."""

from __future__ import annotations

import json

from absl import flags
from ml_collections import config_flags

from soar_jax import parallel
from soar_jax.cli import command
from soar_jax.config.fields import read_section
from soar_jax.parallel.compilation_cache import keep_compiled_programs
from soar_jax.pretraining.config import PretrainConfig
from soar_jax.storage import files

CONFIG = config_flags.DEFINE_config_file("config", None, "Pretraining config file.")
OUT = flags.DEFINE_string("out", None, "Folder for the model, in Hugging Face layout.")


def main() -> None:
    """Pretrains the model, writes it, and prints its validation table."""
    values = command.frozen_config(CONFIG, ("phases", "documents_per_step", "mesh"))
    config = read_section(PretrainConfig, values.to_dict())
    out = files.to_local(command.required(OUT))
    parallel.set_num_cpu_devices(config.mesh.cpu_devices)
    keep_compiled_programs()
    from soar_jax.pretraining.pretrain import pretrain  # after the CPU is split into devices

    table = pretrain(config, out)
    print(json.dumps(table, indent=2))


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv)
