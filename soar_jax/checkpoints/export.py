"""Exports a model as a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile

import jax
import ml_dtypes
import numpy as np
import safetensors

from soar_jax.checkpoints import config_json, hugging_face
from soar_jax.checkpoints.base_model import LoadedModel
from soar_jax.errors import SettingsError, require
from soar_jax.model.parameters import Params
from soar_jax.model.rounding import round_arrays

DTYPES = ("float32", "bfloat16")


def check_target(out: pathlib.Path) -> None:
    """Checks that the target folder is empty or new.

    Raises:
      SettingsError: it is not empty, or is a file.
    """
    require(not out.exists() or out.is_dir(), f"--out={out} is a file; name a folder")
    require(not out.exists() or not any(out.iterdir()), f"--out={out} is not empty; choose another folder")


def smallest_dtype(params: Params) -> str:
    """Returns the smallest of DTYPES that represents the parameters exactly."""

    def fits(leaf: np.ndarray) -> bool:
        return np.array_equal(leaf, leaf.astype(ml_dtypes.bfloat16).astype(leaf.dtype))

    return "bfloat16" if all(map(fits, jax.tree.leaves(params))) else "float32"


def save(model: LoadedModel, out: pathlib.Path, dtype: str, card: str = "") -> None:
    """Writes a folder that transformers and `load_model` read, atomically.

    It has `config.json`, `generation_config.json`, `model.safetensors`, and the tokenizer files with the chat template.

    Args:
      dtype: of the written weights, one of DTYPES.
      card: the model card, written to `README.md`; empty: none.

    Raises:
      SettingsError: the folder is not empty, or cannot be written.
    """
    check_target(out)
    out = out.resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{out.name}.partial-", dir=out.parent) as partial:
            folder = pathlib.Path(partial) / "model"
            _write(model, folder, dtype)
            if card:
                (folder / "README.md").write_text(card, encoding="utf-8")
            os.replace(folder, out)
    except OSError as error:
        raise SettingsError(f"cannot write {out}: {error.strerror}; choose another --out") from None
    except safetensors.SafetensorError as error:
        raise SettingsError(f"cannot write {out}: {error}; choose another --out") from None


def _write(model: LoadedModel, folder: pathlib.Path, dtype: str) -> None:
    tokenizer, config = model.tokenizer, dataclasses.replace(model.config, dtype=dtype)
    params = round_arrays(model.params, dtype)
    raw = config_json.to_hugging_face(config, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    hugging_face.save_params(folder, params, config=config, raw_config=raw)
    shutil.copymode(
        folder / "config.json", folder / "model.safetensors"
    )  # safetensors makes it readable for its owner only
    stops = list(tokenizer.stop_ids)
    generation = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stops if len(stops) > 1 else stops[0],
        "pad_token_id": tokenizer.pad_id,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    tokenizer.backend.save_pretrained(str(folder))
