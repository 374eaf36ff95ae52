"""Writes a policy as a Hugging Face folder: `python experiments/export.py --model=runs/RUN:student --out=DIR`."""

from soar_jax.cli import export

if __name__ == "__main__":
    export.start()
