"""Loads a base model: the embedded one, a Hugging Face folder or hub id, or a GGUF file."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib

import jax
from jax.sharding import Mesh

from soar_jax.checkpoints import config_json, gguf_file, hub, hugging_face
from soar_jax.checkpoints.safetensors_folder import SafetensorsFolder, TensorSource
from soar_jax.checkpoints.tokenizer import Tokenizer, load_tokenizer
from soar_jax.errors import require
from soar_jax.model.config import ModelConfig
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes

EMBEDDED = "embedded:nano"
EMBEDDED_FOLDER = pathlib.Path(__file__).parent / "nano"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """Architecture, parameters and tokenizer of a base model."""

    config: ModelConfig
    params: Params  # NumPy arrays, or arrays on a mesh
    tokenizer: Tokenizer


def load_model(source: str, dtype: str, params_dtype: str = "", *, mesh: Mesh | None = None) -> LoadedModel:
    """Loads a base model.

    Args:
      source: "embedded:nano", a Hugging Face folder or hub id, or a GGUF file.
      dtype: of the decoder's computations.
      params_dtype: of the parameters; "" is `dtype`.
      mesh: if given, the parameters are put on it in their storage sharding; else they are NumPy arrays.

    Raises:
      SettingsError: something is missing or broken.
    """
    path = EMBEDDED_FOLDER if source == EMBEDDED else pathlib.Path(source).expanduser()
    require(
        bool(source) and (path.exists() or hub.is_id(source)),
        f"model.source {source!r} is neither {EMBEDDED!r}, nor a folder with a Hugging Face checkpoint, nor a GGUF "
        "file, nor a hub id such as 'owner/name'",
    )
    tensors: TensorSource
    if path.is_file():
        tensors = file = gguf_file.GGUFFile(path)
        config, tokenizer = config_json.from_hugging_face(file.config(), dtype), gguf_file.load_tokenizer(file)
    else:
        folder = path if path.exists() else hub.download(source)
        config, tokenizer = hugging_face.read_config(folder, dtype), load_tokenizer(folder)
        tensors = SafetensorsFolder(folder)
    tokenizer = tokenizer.for_model(config.vocab_size, source)
    params = hugging_face.load_params(tensors, config, dtype=params_dtype or dtype, mesh=mesh)
    return LoadedModel(config=config, params=params, tokenizer=tokenizer)


def params_sha256(params: Params) -> str:
    """SHA-256 of all arrays of a pytree, with their paths, shapes and dtypes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        digest.update(processes.to_host(leaf).tobytes())  # one at a time: all may not fit in host memory
    return digest.hexdigest()
