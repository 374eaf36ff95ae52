"""Describes where a measurement ran: machine, cores, package versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

from soar_jax.errors import require

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "math-verify", "sympy", "torch", "transformers")


def pin(num_cores: int) -> None:
    """Pins this process and its children to its first `num_cores` cores.

    Raises:
      SettingsError: it has fewer cores.
    """
    allowed = sorted(os.sched_getaffinity(0))
    require(
        1 <= num_cores <= len(allowed), f"--cores={num_cores}, but this process may use {len(allowed)}; lower --cores"
    )
    os.sched_setaffinity(0, allowed[:num_cores])


def describe(peer_versions: dict[str, str]) -> dict[str, Any]:
    """Returns the facts for judging a figure; `load_1min` shows whether the machine was busy at the start."""
    import jax

    commit = _git("rev-parse", "--short", "HEAD")
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit and commit + ("+changes" if _git("status", "--porcelain") else ""),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "pinned_to": sorted(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 1),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))} | peer_versions,
    }


def _version(package: str) -> str:
    """Version of a package; empty if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    """Output of a git command; empty outside a repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
