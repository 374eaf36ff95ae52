"""Writes a policy as a Hugging Face folder: `python experiments/export.py --model=runs/RUN:student --out=DIR`."""

from __future__ import annotations

from absl import flags

from soar_jax.checkpoints import export, hub
from soar_jax.cli import command
from soar_jax.errors import require
from soar_jax.storage import files

MODEL = flags.DEFINE_string(
    "model", None, "A hub id, a Hugging Face folder, a GGUF file, or a run's workdir (:student or :teacher behind it)."
)
OUT = flags.DEFINE_string("out", None, "Folder for the model; it must not hold anything.")
DTYPE = flags.DEFINE_enum(
    "dtype", None, export.DTYPES, "What the weights are written in; default: bfloat16 where that loses nothing."
)
PUSH_TO_HUB = flags.DEFINE_string(
    "push_to_hub", "", "OWNER/NAME of a model on the Hugging Face hub, to which the folder is uploaded."
)
PRIVATE = flags.DEFINE_bool("private", False, "Create the model of --push_to_hub as a private one.")


def main() -> None:
    """Loads the policy, merges its adapters, writes it, and uploads the folder if that is asked for."""
    model, out, name = command.required(MODEL), files.to_local(command.required(OUT)), PUSH_TO_HUB.value
    require(not name or hub.is_id(name), f"--push_to_hub={name} is no name of a model on the hub; give OWNER/NAME")
    require(bool(name) or not PRIVATE.value, "--private is of the model of --push_to_hub; give that too")
    export.check_target(out)
    from soar_jax.runs import policies  # seconds to import
    from soar_jax.runs.model_card import model_card

    policy = policies.load(model, "float32")
    dtype = DTYPE.value or export.smallest_dtype(policy.model.params)
    export.save(policy.model, out, dtype, card=model_card(model, policy, name or out.name))
    print(f"{policy.name}: written to {out} in {dtype}")
    if name:
        print(f"uploaded to {hub.upload(out, name, PRIVATE.value)}")


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv)
