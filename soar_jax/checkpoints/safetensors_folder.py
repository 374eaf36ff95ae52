"""Reads the files of a checkpoint: JSON, and tensors one at a time by name."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Protocol

import ml_dtypes  # noqa: F401 (teaches NumPy bfloat16)
import numpy as np
import safetensors

from soar_jax.errors import SettingsError, require

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_FLOATS = ("F16", "BF16", "F32", "F64")  # other dtypes are quantised and need scales


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object from a file of a checkpoint.

    Raises:
      FileNotFoundError: there is no such file.
      SettingsError: it cannot be read, or is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested too deeply
        found = None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    require(isinstance(found, dict), f"{path} holds no JSON object; fetch the checkpoint again")
    return found


class TensorSource(Protocol):
    """Tensors by their names in a Hugging Face checkpoint."""

    def get(self, name: str) -> np.ndarray:
        """Reads a tensor.

        Raises:
          SettingsError: there is none, or it cannot be read.
        """


class SafetensorsFolder:
    """The safetensors files of a Hugging Face folder, one or more; a `TensorSource`."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Finds the files and opens none.

        Raises:
          SettingsError: they are missing, or the index is broken.
        """
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._file_of = _weight_map(folder)  # empty for a single file
        for name in sorted(set(self._file_of.values())) or [SINGLE]:
            require((folder / name).is_file(), f"no {name} in {folder}; fetch the checkpoint again")

    def get(self, name: str) -> np.ndarray:
        """Reads a tensor in the dtype of the checkpoint.

        Raises:
          SettingsError: there is none, its file is broken, or it is not of floats.
        """
        require(
            not self._file_of or name in self._file_of,
            f"tensor {name} is not in {INDEX} of {self._folder}; fetch it again",
        )
        file = self._file_of.get(name, SINGLE)
        try:
            if file not in self._files:
                self._files.clear()  # layers are read in the order of their files: one open file is enough
                self._files[file] = safetensors.safe_open(self._folder / file, framework="np")
            kind = self._files[file].get_slice(name).get_dtype()
            require(kind in _FLOATS, f"tensor {name} is of {kind}; supported: {', '.join(_FLOATS)}")
            return self._files[file].get_tensor(name)
        except safetensors.SafetensorError as error:
            raise SettingsError(f"{self._folder / file} is broken ({error}); fetch the checkpoint again") from None


def _weight_map(folder: pathlib.Path) -> dict[str, str]:
    path = folder / INDEX
    if not path.exists():
        return {}
    files = read_json(path).get("weight_map")
    if not isinstance(files, dict) or not files or not all(map(_is_file_name, files.values())):
        raise SettingsError(f"{path} is broken; fetch the checkpoint again")
    return files


def _is_file_name(file: object) -> bool:
    """Whether it is a plain file name; a path could lead out of the folder."""
    return isinstance(file, str) and pathlib.PurePath(file).name == file
