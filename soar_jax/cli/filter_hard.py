"""Finds problems that no sample solves: `python experiments/filter_hard.py --config=configs/soar_math.py --out=DIR`.

The same command resumes.
"""

from __future__ import annotations

from soar_jax.cli import command

FLAGS = command.define_eval_flags("Folder for hard_subset.jsonl and hard_problems.jsonl.")


def main() -> None:
    """Searches with the policy given by the flags."""
    config, model, out = FLAGS.read()
    from soar_jax.runs import filter_hard  # after the CPU is split into devices

    filter_hard.filter_hard(config, model, out)


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv, saved="graded answers")
