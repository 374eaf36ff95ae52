"""All that differs between a folder on disk and one in a bucket of Google Cloud Storage.

On disk, bytes are appended and synced, and a whole file appears by being renamed. An object in a bucket is only ever
written whole, appears whole, and is never locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import io
import os
import pathlib
import re
from collections.abc import Iterator
from typing import IO

import fsspec
from etils import epath

from soar_jax.parallel import processes
from soar_jax.settings import SettingsError, require

_BUCKETS = "gs://"
_PATIENCE_S = 30.0  # for a bucket's first answer
_LONGEST_REASON = 200


def to_path(text: str) -> epath.Path:
    """The path that a user has named: a local one, or gs://BUCKET/FOLDER.

    Raises:
      SettingsError: it is another kind of URL, or a bucket's and the extra `gcs` is not installed.
    """
    if not re.match(r"\w+:/", text):
        return epath.Path(text).expanduser()
    is_bucket = re.fullmatch(_BUCKETS + r"[^/*?\[\]][^*?\[\]]*", text) is not None  # clients expand such patterns
    require(is_bucket, f"{text}: only local paths and gs://BUCKET/FOLDER, without * ? [ ], are supported")
    require(importlib.util.find_spec("gcsfs") is not None, f"{text} needs: pip install 'soar-jax[gcs]'")
    os.environ.setdefault("EPATH_USE_TF", "0")  # gcsfs also where TensorFlow happens to be installed
    # Other processes, and orbax past gcsfs, write to the folders that it would remember.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return epath.Path(text)


def to_local(text: str) -> pathlib.Path:
    """The path on disk that a user has named.

    Raises:
      SettingsError: it is a URL.
    """
    require(not re.match(r"\w+:/", text), f"{text}: only a path on this machine's disks is supported here")
    return pathlib.Path(text).expanduser()


def is_in_bucket(path: epath.Path) -> bool:
    """Whether it is a path in a bucket, not on disk."""
    return str(path).startswith(_BUCKETS)


def check_bucket(path: epath.Path) -> None:
    """Refuses a path whose bucket cannot be read; of a path on disk it asks nothing.

    Raises:
      SettingsError: there are no credentials, no such bucket or no right to read it, or it does not answer.
    """
    if not is_in_bucket(path):
        return
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage
    from google.cloud.storage.retry import DEFAULT_RETRY

    name = str(path).removeprefix(_BUCKETS).partition("/")[0]
    try:
        # orbax will ask this too
        storage.Client().get_bucket(name, timeout=_PATIENCE_S, retry=DEFAULT_RETRY.with_timeout(_PATIENCE_S))
    except (GoogleAPIError, GoogleAuthError, OSError, ValueError) as error:
        raise SettingsError(
            f"cannot use the bucket of {path} ({type(error).__name__}: {reason(error)}); see docs/cloud_tpu.md"
        ) from None


def reason(error: Exception) -> str:
    """Why something went wrong, in a line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:_LONGEST_REASON]


def absolute(path: epath.Path) -> epath.Path:
    """The path from the root; one in a bucket is as it is."""
    return path if is_in_bucket(path) else path.absolute()


def names(folder: epath.Path) -> list[str]:
    """What is in a folder, sorted; nothing where there is no folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@contextlib.contextmanager
def claiming(folder: str, instead: str) -> Iterator[None]:
    """Within it a folder is locked and first written to; `folder` and `instead` name it and what to change.

    Raises:
      SettingsError: another process holds it, or it cannot be written.
    """
    try:
        yield
    except BlockingIOError:
        raise SettingsError(f"another process is running in {folder}; wait or choose another {instead}") from None
    except OSError as error:
        raise SettingsError(f"cannot write to {folder}: {reason(error)}; choose another {instead}") from None


def lock(path: epath.Path) -> IO[str]:
    """Makes the first process of this run the only one that holds a file, until it is closed or the process ends.

    Raises:
      BlockingIOError: another process holds it. Never in a bucket, where nothing can be held.
    """
    if is_in_bucket(path):
        return io.StringIO()
    file: IO[str] = path.open("w")
    is_held = processes.is_main() and not _flock(file)
    if processes.any_process(is_held):  # so that all processes of this run end alike
        raise BlockingIOError
    return file


def _flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def size(path: epath.Path) -> int:
    """Bytes of a file."""
    return path.stat().length if is_in_bucket(path) else os.path.getsize(path)


def put(path: epath.Path, content: bytes) -> None:
    """Writes a file that appears whole, on disk, or not at all."""
    if is_in_bucket(path):
        path.write_bytes(content)
        return
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        _write_synced(file, content)
    os.replace(partial, path)


def append(path: epath.Path, content: bytes) -> None:
    """Adds to a file, which it makes where there is none; on disk when this returns."""
    if is_in_bucket(path):
        put(path, (path.read_bytes() if path.exists() else b"") + content)
        return
    with path.open("ab") as file:
        _write_synced(file, content)


def truncate(path: epath.Path, length: int) -> None:
    """Cuts a file to its first bytes."""
    if is_in_bucket(path):
        put(path, path.read_bytes()[:length])
    else:
        os.truncate(path, length)


def _write_synced(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
