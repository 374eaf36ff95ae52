"""The code, packages and devices that a run computes with."""

from __future__ import annotations

import functools
import importlib.metadata
import pathlib
import platform
import subprocess
from typing import Any

from jax.sharding import Mesh

from soar_jax.command_line import command_line
from soar_jax.parallel import processes

_ROOT = pathlib.Path(__file__).parents[2]
_GIT_TIMEOUT_S = 10


def environment(mesh: Mesh) -> dict[str, Any]:
    """Describes where a run executes; holds no variable of the shell, which may be a credential."""
    return {
        "command": command_line(),
        "git_commit": git_commit(_ROOT),
        "soar_jax": _version("soar-jax"),
        "python": platform.python_version(),
        "jax": _version("jax"),
        "jaxlib": _version("jaxlib"),
        "platform": platform.platform(),
        "device_kind": mesh.devices.flat[0].device_kind,
        "num_devices": mesh.size,
        "num_processes": processes.num_processes(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a checkout that was not installed
        return ""


@functools.cache
def git_commit(root: pathlib.Path) -> str:
    """Returns the commit of a checkout, with "-dirty" if tracked files differ from it; empty if it is no checkout."""
    if not (root / ".git").exists():  # an installed package may be in a checkout of other code
        return ""
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):  # without git, or a checkout of another user
        return ""
    return done.stdout.strip()
