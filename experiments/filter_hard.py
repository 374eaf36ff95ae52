"""Finds problems that no sample solves: `python experiments/filter_hard.py --config=configs/soar_math.py --out=DIR`."""

from soar_jax.cli import filter_hard

if __name__ == "__main__":
    filter_hard.start()
