"""Measures a policy's pass@k on a benchmark: `python experiments/evaluate.py --config=configs/soar_math.py --out=DIR`.

The same command goes on where it was stopped.
"""

from soar_jax.cli import command

FLAGS = command.define_asking_flags("Folder for evaluation.json and completions.jsonl.")


def main() -> None:
    """Runs the config given by the flags."""
    config, model, out = FLAGS.read()
    from soar_jax.runs import evaluate  # after the CPU is split into devices

    evaluate.evaluate(config, model, out)


if __name__ == "__main__":
    command.start(main, saved="graded answers")
