"""Plans a run: `python experiments/plan.py --config=configs/soar_math.py:llama3.2-3b --topology=v6e:4x4`."""

from soar_jax.cli import plan

if __name__ == "__main__":
    plan.start()
