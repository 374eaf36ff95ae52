"""Finds problems that no sample solves: `python experiments/filter_hard.py --config=configs/soar_math.py --out=DIR`.

The same command goes on where it was stopped.
"""

from soar_jax import program

FLAGS = program.define_asking_flags("Folder for hard_subset.jsonl and hard_problems.jsonl.")


def main() -> None:
    """Runs the config given by the flags."""
    config, model, out = FLAGS.read()
    from soar_jax.soar import hard_filter  # after the CPU is split into devices

    hard_filter.filter_hard(config, model, out)


if __name__ == "__main__":
    program.start(main, saved="graded answers")
