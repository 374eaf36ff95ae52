"""Downloads checkpoints from the Hugging Face hub, and uploads exported ones."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from soar_jax.errors import SettingsError, require

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


def card_data(source: str) -> dict[str, Any]:
    """Reads the front matter of the model card in a folder or on the hub; empty if there is none to be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.repocard import metadata_load

    try:
        card = pathlib.Path(source).expanduser() / "README.md"
        if not card.exists() and is_id(source):
            card = pathlib.Path(hf_hub_download(source, card.name))
        found = metadata_load(card)
    except Exception:  # no card, no network, or a card that is broken: none of it stops an export
        return {}
    return found if isinstance(found, dict) else {}


def upload(folder: pathlib.Path, name: str, private: bool) -> str:
    """Uploads a folder to a model repository, which is created if needed, and returns its address.

    Raises:
      SettingsError: there is no token, it may not write there, or the hub cannot be reached; the folder is as it was.
    """
    from huggingface_hub import HfApi, get_token

    by_hand = f"{folder} is complete; push it again with: hf upload {name} {folder}"
    require(get_token() is not None, f"the hub wants a token: log in with `hf auth login` or set HF_TOKEN. {by_hand}")
    api = HfApi()
    try:
        address = api.create_repo(name, private=private or None, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export by soar_jax")
    except Exception as error:  # errors of the hub, or of the HTTP client of its library
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"{type(error).__name__}{f', HTTP {status}' if status else ''}"
        raise SettingsError(
            f"cannot push to {name} ({reason}); check its name, the rights of your token and the network. {by_hand}"
        ) from None
    return str(address)
