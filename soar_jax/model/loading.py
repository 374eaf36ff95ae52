"""A model by its name: the embedded one, or a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib

import jax

from soar_jax.model import hugging_face
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.model.tokenizer import Tokenizer, load_tokenizer
from soar_jax.settings import require

EMBEDDED = "embedded:nano"
EMBEDDED_FOLDER = pathlib.Path(__file__).parent / "nano"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A base model: its shape, its parameters on the host, and its tokenizer."""

    config: ModelConfig
    params: Params  # NumPy arrays
    tokenizer: Tokenizer


def model_folder(source: str) -> pathlib.Path:
    """The folder that `model.source` names.

    Raises:
      SettingsError: there is no such folder.
    """
    folder = EMBEDDED_FOLDER if source == EMBEDDED else pathlib.Path(source).expanduser()
    require(
        bool(source) and folder.is_dir(),
        f"model.source {source!r} is neither {EMBEDDED!r} nor a folder with a Hugging Face checkpoint",
    )
    return folder


def load_model(source: str, dtype: str) -> LoadedModel:
    """Loads a base model through the one general loader.

    Raises:
      SettingsError: what is missing or broken, in one line.
    """
    folder = model_folder(source)
    config = hugging_face.read_config(folder, dtype)
    tokenizer = load_tokenizer(folder)
    require(
        tokenizer.vocab_size <= config.vocab_size,
        f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, the model only {config.vocab_size}",
    )
    return LoadedModel(config, hugging_face.load_params(folder, config), tokenizer)


def params_sha256(params: Params) -> str:
    """SHA-256 of all arrays of a pytree, with their paths, shapes and dtypes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(params)):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()
