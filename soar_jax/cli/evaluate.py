"""Measures a policy's pass@k on a benchmark: `python experiments/evaluate.py --config=configs/soar_math.py --out=DIR`.

The same command resumes.
"""

from __future__ import annotations

from soar_jax.cli import command

FLAGS = command.define_eval_flags("Folder for evaluation.json and completions.jsonl.")


def main() -> None:
    """Evaluates the policy given by the flags."""
    config, model, out = FLAGS.read()
    from soar_jax.runs import evaluate  # after the CPU is split into devices

    evaluate.evaluate(config, model, out)


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv, saved="graded answers")
