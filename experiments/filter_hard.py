"""Finds problems that no sample solves: `python experiments/filter_hard.py --config=configs/soar_math.py --out=DIR`.

The same command goes on where it was stopped.
"""

from soar_jax.cli import command

FLAGS = command.define_asking_flags("Folder for hard_subset.jsonl and hard_problems.jsonl.")


def main() -> None:
    """Runs the config given by the flags."""
    config, model, out = FLAGS.read()
    from soar_jax.runs import filter_hard  # after the CPU is split into devices

    filter_hard.filter_hard(config, model, out)


if __name__ == "__main__":
    command.start(main, saved="graded answers")
