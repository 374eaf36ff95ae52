"""A model by its name: the embedded one, or a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib

import jax
from jax.sharding import Mesh

from soar_jax.checkpoints import gguf_file, hub, hugging_face
from soar_jax.checkpoints.safetensors_folder import SafetensorsFolder
from soar_jax.checkpoints.tokenizer import Tokenizer, load_tokenizer
from soar_jax.model import config as model_config
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.settings import require

EMBEDDED = "embedded:nano"
EMBEDDED_FOLDER = pathlib.Path(__file__).parent / "nano"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A base model: its shape, its parameters, and its tokenizer."""

    config: ModelConfig
    params: Params  # NumPy arrays, or arrays on a mesh
    tokenizer: Tokenizer


def load_model(source: str, dtype: str, params_dtype: str = "", mesh: Mesh | None = None) -> LoadedModel:
    """Loads a base model: the embedded one, a Hugging Face folder or hub id, or a GGUF file.

    Args:
      dtype: what the decoder computes in.
      params_dtype: of the parameters, where they are to be kept in another one.
      mesh: where the parameters are to be kept, as `layout.shardings` says; without one they are NumPy arrays.

    Raises:
      SettingsError: what is missing or broken, in one line.
    """
    path = EMBEDDED_FOLDER if source == EMBEDDED else pathlib.Path(source).expanduser()
    require(
        bool(source) and (path.exists() or hub.is_id(source)),
        f"model.source {source!r} is neither {EMBEDDED!r}, nor a folder with a Hugging Face checkpoint, nor a GGUF "
        "file, nor a hub id such as 'owner/name'",
    )
    if path.is_file():
        model = _load_gguf(path, dtype, params_dtype=params_dtype or dtype, mesh=mesh)
    else:
        model = _load_folder(
            path if path.exists() else hub.download(source), dtype, params_dtype=params_dtype or dtype, mesh=mesh
        )
    require(
        model.tokenizer.vocab_size <= model.config.vocab_size,
        f"the tokenizer of {source} has {model.tokenizer.vocab_size} tokens, the model only {model.config.vocab_size}",
    )
    return model


def _load_folder(folder: pathlib.Path, dtype: str, params_dtype: str, mesh: Mesh | None) -> LoadedModel:
    config = hugging_face.read_config(folder, dtype)
    tokenizer = load_tokenizer(folder)
    params = hugging_face.load_params(SafetensorsFolder(folder), config, dtype=params_dtype, mesh=mesh)
    return LoadedModel(config=config, params=params, tokenizer=tokenizer)


def _load_gguf(path: pathlib.Path, dtype: str, params_dtype: str, mesh: Mesh | None) -> LoadedModel:
    file = gguf_file.GGUFFile(path)
    config = model_config.from_hugging_face(file.config(), dtype)
    tokenizer = gguf_file.load_tokenizer(file)
    return LoadedModel(
        config=config,
        params=hugging_face.load_params(file.source(config), config, dtype=params_dtype, mesh=mesh),
        tokenizer=tokenizer,
    )


def params_sha256(params: Params) -> str:
    """SHA-256 of all arrays of a pytree, with their paths, shapes and dtypes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        digest.update(processes.to_host(leaf).tobytes())  # one at a time: all of them may not fit on a host
    return digest.hexdigest()
