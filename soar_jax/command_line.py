"""The command that started this program."""

from __future__ import annotations

import shlex
import sys


def command_line(python: str = "python") -> str:
    """The command for a shell; `python` names the interpreter of a program that was started by its file."""
    return shlex.join([python, *sys.argv] if sys.argv[0].endswith(".py") else sys.argv)
