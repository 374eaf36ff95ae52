"""Writes a policy as a Hugging Face folder: `python experiments/export.py --model=runs/RUN:student --out=DIR`."""

from __future__ import annotations

from absl import flags

from soar_jax.checkpoints import export
from soar_jax.cli import command
from soar_jax.storage import files

MODEL = flags.DEFINE_string(
    "model", None, "A hub id, a Hugging Face folder, a GGUF file, or a run's workdir (:student or :teacher behind it)."
)
OUT = flags.DEFINE_string("out", None, "Folder for the model; it must not hold anything.")
DTYPE = flags.DEFINE_enum(
    "dtype", None, export.DTYPES, "What the weights are written in; default: bfloat16 where that loses nothing."
)


def main() -> None:
    """Loads the policy, merges its adapters, and writes it."""
    model, out = command.required(MODEL), files.to_local(command.required(OUT))
    export.check_target(out)
    from soar_jax.runs import policies  # seconds to import

    policy = policies.load(model, "float32")
    dtype = DTYPE.value or export.smallest_dtype(policy.model.params)
    export.save(policy.model, out, dtype)
    print(f"{policy.name}: written to {out} in {dtype}")


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv)
