"""Makes the embedded model: `python experiments/pretrain.py --config=configs/pretrain_nano.py --out=DIR`."""

from soar_jax.cli import pretrain

if __name__ == "__main__":
    pretrain.start()
