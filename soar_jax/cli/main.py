"""The console script: `soar-jax PROGRAM [flags]`."""

from __future__ import annotations

import importlib
import sys

from soar_jax.errors import EXIT_BAD_INPUT

PROGRAMS = {
    "run": "run a method",
    "reproduce": "run the paper's methods for several seeds, and report",
    "report": "make one page about many runs",
    "evaluate": "measure a policy's pass@k on a benchmark",
    "filter_hard": "find problems that no sample solves",
    "export": "write a policy as a Hugging Face folder",
    "plan": "operations, hours and money of a run before it starts",
    "compile_check": "compile every program of a run for TPUs or GPUs that are not here",
    "pretrain": "make the embedded model again",
}


def main() -> None:
    """Starts a program; its flags follow its name."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help", "help"):
        print("usage: soar-jax PROGRAM [flags]; soar-jax PROGRAM --help lists its flags\n")
        print("\n".join(f"  {program:14} {purpose}" for program, purpose in PROGRAMS.items()))
        sys.exit(0 if name else EXIT_BAD_INPUT)
    if name not in PROGRAMS:
        print(f"error: there is no program {name!r}; choose one of {', '.join(PROGRAMS)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    importlib.import_module(f"soar_jax.cli.{name}").start([f"{sys.argv[0]} {name}", *sys.argv[2:]])


if __name__ == "__main__":
    main()
