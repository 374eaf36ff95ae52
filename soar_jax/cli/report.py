"""Reports on runs: `python experiments/report.py WORKDIR... --out=report.html`, or `--serve` to watch them.

A WORKDIR is the folder of a run, or a folder with runs at any depth.
"""

from __future__ import annotations

from absl import flags

from soar_jax import report
from soar_jax.cli import command
from soar_jax.errors import require
from soar_jax.report import serve
from soar_jax.storage import files

OUT = flags.DEFINE_string("out", "report.html", "The page; its tables are written beside it as .md and .csv.")
SERVE = flags.DEFINE_bool("serve", False, "Show the page on 127.0.0.1 and keep it fresh while runs go on.")
PORT = flags.DEFINE_integer("port", 8080, "Port of --serve; 0 takes any free one.", lower_bound=0, upper_bound=65535)


def main(*workdirs: str) -> None:
    """Writes or serves the report."""
    require(bool(workdirs), "name at least one workdir: python experiments/report.py WORKDIR... --out=report.html")
    folders = [files.to_local(text) for text in workdirs]
    if SERVE.value:
        serve.serve(folders, PORT.value)
        return
    out = files.to_local(OUT.value)
    require(out.suffix == ".html" and not out.is_dir(), f"--out={out} must be the name of an .html file")
    report.write(folders, out)
    print(f"{out} ({out.stat().st_size / 2**20:.1f} MiB), tables beside it")


def start(argv: list[str] | None = None) -> None:
    """Starts the program; `argv` in place of `sys.argv`."""
    command.start(main, argv, positional=True)
