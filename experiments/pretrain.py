"""Makes the embedded model: `python experiments/pretrain.py --config=configs/pretrain_nano.py --out=DIR`."""

import json

from absl import flags
from ml_collections import config_flags

from soar_jax.cli import command
from soar_jax.parallel import mesh
from soar_jax.storage import files

CONFIG = config_flags.DEFINE_config_file("config", None, "Pretraining config file.")
OUT = flags.DEFINE_string("out", None, "Folder for the model, in Hugging Face layout.")


def main() -> None:
    """Pretrains, writes the model and its validation table."""
    config = command.frozen_config(CONFIG, ("phases", "documents_per_step", "mesh"))
    command.require_flag(OUT)
    mesh.set_num_cpu_devices(config.mesh.cpu_devices)
    from soar_jax.pretraining import pretrain  # after the CPU is split into devices

    table = pretrain.pretrain(config, files.to_local(OUT.value))
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    command.start(main)
