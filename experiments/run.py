"""Runs a method: `python experiments/run.py --config=configs/soar_math.py [--workdir=DIR] [--config.KEY=VALUE]`."""

from soar_jax.cli import run

if __name__ == "__main__":
    run.start()
