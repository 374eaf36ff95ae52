"""Runs the paper's methods for several seeds and reports: `python experiments/reproduce.py --scale=nano --seeds=5`."""

from soar_jax.cli import reproduce

if __name__ == "__main__":
    reproduce.start()
