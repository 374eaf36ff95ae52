"""Measures a policy's pass@k: `python experiments/evaluate.py --config=configs/soar_math.py --out=DIR`."""

from soar_jax.cli import evaluate

if __name__ == "__main__":
    evaluate.start()
