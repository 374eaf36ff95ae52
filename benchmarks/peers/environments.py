"""Virtual environments of the peers, made in benchmarks/.venvs/ on first use."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
import venv

from benchmarks.peers.process import Worker
from soar_jax.errors import SettingsError

VENVS = pathlib.Path(__file__).parent.parent / ".venvs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """How to install a peer, and the script that drives it."""

    worker: str
    requirements: tuple[tuple[str, ...], ...]  # pip arguments, installed in this order
    packages: tuple[str, ...]  # to record the versions of


PEERS = {
    # torch first: an index may have several builds, and TRL would pull in the newest.
    "torch": Peer(
        worker="torch_worker",
        requirements=(("torch==2.13.0",), ("trl==1.16",)),
        packages=("torch", "transformers", "trl"),
    ),
    # Tunix cannot read checkpoints with the newest safetensors.
    "tunix": Peer(
        worker="tunix_worker",
        requirements=(("google-tunix==0.1.7", "safetensors<0.8"),),
        packages=("google-tunix", "jax", "flax"),
    ),
}
# How torch's threads wait: spinning is fast on idle cores and very slow on busy ones.
WAITING: dict[str, dict[str, str]] = {"by default": {}, "spinning": {"OMP_WAIT_POLICY": "active"}}


def start(name: str, environment: dict[str, str] | None = None) -> Worker:
    """Starts the worker of a peer, and installs the peer on first use.

    Raises:
      SettingsError: the installation fails.
    """
    return Worker(PEERS[name].worker, _python(name), environment)


def versions(name: str) -> dict[str, str]:
    """Returns the versions of a peer's packages: {"PEER:PACKAGE": version}."""
    code = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
    packages = PEERS[name].packages
    found = subprocess.run([str(_python(name)), "-c", code, *packages], capture_output=True, text=True, check=True)
    return {f"{name}:{package}": version for package, version in zip(packages, found.stdout.split(), strict=True)}


def _python(name: str) -> pathlib.Path:
    folder = VENVS / name
    done, python = folder / "installed", folder / "bin" / "python"
    if not done.exists():
        print(f"installing {name} into {folder}; this takes minutes, once", file=sys.stderr)
        venv.create(folder, with_pip=True)
        for requirements in PEERS[name].requirements:
            _install(name, python, requirements)
        done.touch()
    return python


def _install(name: str, python: pathlib.Path, requirements: tuple[str, ...]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SettingsError(
            f"cannot install {' '.join(requirements)} ({last}); try again, or leave {name} out (--peers)"
        )
