"""Reports on runs: `python experiments/report.py WORKDIR... --out=report.html`, or `--serve` to watch them."""

from soar_jax.cli import report

if __name__ == "__main__":
    report.start()
