"""Downloads checkpoints from the Hugging Face hub."""

from __future__ import annotations

import pathlib
import re

from soar_jax.errors import SettingsError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")  # no pickles


def is_id(name: str) -> bool:
    """Whether a name has the form `owner/name`."""
    return _ID.fullmatch(name) is not None


def download(name: str) -> pathlib.Path:
    """Downloads a model, if it is not in the local cache, and returns its folder.

    Raises:
      SettingsError: the hub cannot be reached, does not have the model, or wants its licence accepted.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        return pathlib.Path(snapshot_download(name, allow_patterns=list(FILES)))
    except errors.GatedRepoError:
        raise SettingsError(
            f"model.source {name!r} is gated: accept its licence on its page at huggingface.co, then log in with "
            "`hf auth login`"
        ) from None
    except errors.HFValidationError:
        raise SettingsError(f"model.source {name!r} is no local folder, and no name of a model on the hub") from None
    except errors.RepositoryNotFoundError:
        raise SettingsError(f"there is no model {name!r} on the hub, or your account cannot see it") from None
    except Exception as error:  # errors of the hub, or of the HTTP client of its library
        raise SettingsError(
            f"model.source {name!r} is no local folder and the hub cannot be reached ({type(error).__name__}); check "
            "the network, or give a folder"
        ) from None
