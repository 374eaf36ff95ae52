"""Compiles a run for TPUs or GPUs: `python experiments/compile_check.py --config=CONFIG.py:SCALE --topology=h100:8`."""

from soar_jax.cli import compile_check

if __name__ == "__main__":
    compile_check.start()
