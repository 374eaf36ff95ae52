"""The files of a checkpoint: JSON, and tensors by name, read one at a time."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Protocol

import ml_dtypes  # noqa: F401 (teaches NumPy bfloat16)
import numpy as np
import safetensors

from soar_jax.settings import SettingsError, require

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_FLOATS = ("F16", "BF16", "F32", "F64")  # others are a quantisation's, and need its scales


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint.

    Raises:
      FileNotFoundError: there is no such file.
      SettingsError: it cannot be read, or holds no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (ValueError, RecursionError):  # no UTF-8, no JSON, nested without end
        found = None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    require(isinstance(found, dict), f"{path} holds no JSON object; fetch the checkpoint again")
    return found


class TensorSource(Protocol):
    """Where tensors come from, by their names in a Hugging Face checkpoint."""

    def get(self, name: str) -> np.ndarray:
        """The tensor as the checkpoint has it.

        Raises:
          SettingsError: there is none, or it cannot be read.
        """


class SafetensorsFolder:
    """The safetensors files of a Hugging Face folder, one or many; a tensor is read when it is asked for."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Finds the files; opens none.

        Raises:
          SettingsError: they are missing, or the index is broken.
        """
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._place = _weight_map(folder)  # file of each tensor; empty for a single file
        names = sorted(set(self._place.values())) or [SINGLE]
        for name in names:
            require((folder / name).is_file(), f"no {name} in {folder}; fetch the checkpoint again")

    def get(self, name: str) -> np.ndarray:
        """The tensor as the checkpoint has it.

        Raises:
          SettingsError: there is none, its file is broken, or it holds no floats.
        """
        require(
            not self._place or name in self._place, f"tensor {name} is not in {INDEX} of {self._folder}; fetch it again"
        )
        file = self._place.get(name, SINGLE)
        try:
            if file not in self._files:
                self._files.clear()  # layers come in the order of their files: one is open at a time
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
    places = read_json(path).get("weight_map")
    require(
        isinstance(places, dict) and bool(places) and all(_is_plain(file) for file in places.values()),
        f"{path} is broken; fetch the checkpoint again",
    )
    assert isinstance(places, dict)
    return places


def _is_plain(file: object) -> bool:
    """A file name in the folder itself, not a path out of it."""
    return isinstance(file, str) and pathlib.PurePath(file).name == file
