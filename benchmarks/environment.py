"""Where a measurement was made: the machine, how it was pinned, the versions, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

from soar_jax.settings import require

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "math-verify", "sympy", "torch", "transformers")


def pin(num_cores: int) -> None:
    """Keeps this process, and all that it starts, on the first `num_cores` of its cores.

    Raises:
      SettingsError: it has fewer.
    """
    allowed = sorted(os.sched_getaffinity(0))
    require(
        1 <= num_cores <= len(allowed), f"--cores={num_cores}, but this process may use {len(allowed)}; lower --cores"
    )
    os.sched_setaffinity(0, allowed[:num_cores])


def describe(peer_versions: dict[str, str]) -> dict[str, Any]:
    """What a reader needs to judge a figure; `load_1min` says whether others worked beside it at the start."""
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
    """Of an installed package; empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    """What git prints; empty where this is no repository."""
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
