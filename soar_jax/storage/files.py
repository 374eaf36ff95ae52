"""File operations on local disk and in Google Cloud Storage buckets.

On disk, appends are synced, and a file is replaced by an atomic rename. A bucket object is always rewritten in full,
appears atomically, and cannot be locked.
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

from soar_jax.errors import SettingsError, require
from soar_jax.parallel import processes

_BUCKETS = "gs://"
BUCKET_TIMEOUT_S = 30.0  # for the first request
_MAX_REASON_CHARACTERS = 200


def to_path(text: str) -> epath.Path:
    """Parses a user's path: a local one, or gs://BUCKET/FOLDER.

    Raises:
      SettingsError: it is another URL, or in a bucket without the extra `gcs` installed.
    """
    if not re.match(r"\w+:/", text):
        return epath.Path(text).expanduser()
    is_bucket = re.fullmatch(_BUCKETS + r"[^/*?\[\]][^*?\[\]]*", text) is not None  # clients expand patterns
    require(is_bucket, f"{text}: only local paths and gs://BUCKET/FOLDER, without * ? [ ], are supported")
    require(importlib.util.find_spec("gcsfs") is not None, f"{text} needs: pip install 'soar-jax[gcs]'")
    os.environ.setdefault("EPATH_USE_TF", "0")  # use gcsfs even if TensorFlow is installed
    # Other processes write to the cached folders, and so does orbax without gcsfs.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return epath.Path(text)


def to_local(text: str) -> pathlib.Path:
    """Parses a user's path on local disk.

    Raises:
      SettingsError: it is a URL.
    """
    require(not re.match(r"\w+:/", text), f"{text}: only a path on this machine's disks is supported here")
    return pathlib.Path(text).expanduser()


def is_in_bucket(path: epath.Path) -> bool:
    """Returns whether a path is in a bucket."""
    return str(path).startswith(_BUCKETS)


def check_bucket(path: epath.Path) -> None:
    """Checks that the bucket of a path can be read; a local path passes.

    Raises:
      SettingsError: credentials, bucket or permission are missing, or the request timed out.
    """
    if not is_in_bucket(path):
        return
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage
    from google.cloud.storage.retry import DEFAULT_RETRY

    name = str(path).removeprefix(_BUCKETS).partition("/")[0]
    try:
        # orbax makes the same request
        retry = DEFAULT_RETRY.with_timeout(BUCKET_TIMEOUT_S)
        storage.Client().get_bucket(name, timeout=BUCKET_TIMEOUT_S, retry=retry)
    except (GoogleAPIError, GoogleAuthError, OSError, ValueError) as error:
        raise SettingsError(
            f"cannot use the bucket of {path} ({type(error).__name__}: {error_reason(error)}); see docs/cloud_tpu.md"
        ) from None


def error_reason(error: Exception) -> str:
    """Summarizes an error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:_MAX_REASON_CHARACTERS]


def absolute(path: epath.Path) -> epath.Path:
    """Makes a local path absolute."""
    return path if is_in_bucket(path) else path.absolute()


def list_names(folder: epath.Path) -> list[str]:
    """Lists the names in a folder, sorted; empty if it does not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@contextlib.contextmanager
def lock_errors(folder: str, instead: str) -> Iterator[None]:
    """Turns errors of locking and writing to a folder into one line, which names `folder` and what to choose `instead`.

    Raises:
      SettingsError: another process has the lock, or the folder cannot be written.
    """
    try:
        yield
    except BlockingIOError:
        raise SettingsError(f"another process is running in {folder}; wait or choose another {instead}") from None
    except OSError as error:
        raise SettingsError(f"cannot write to {folder}: {error_reason(error)}; choose another {instead}") from None


def lock(path: epath.Path) -> IO[str]:
    """Locks a file from the main process, until the file is closed or the process ends. A no-op in a bucket.

    Raises:
      BlockingIOError: another process has the lock.
    """
    if is_in_bucket(path):
        return io.StringIO()
    file: IO[str] = path.open("w")
    is_locked = processes.is_main() and not _flock(file)
    if processes.any_process(is_locked):  # raise in all processes of this run
        raise BlockingIOError
    return file


def _flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def size(path: epath.Path) -> int:
    """Returns the size of a file in bytes."""
    return path.stat().length if is_in_bucket(path) else os.path.getsize(path)


def write(path: epath.Path, content: bytes) -> None:
    """Writes a file atomically; on disk when this returns."""
    if is_in_bucket(path):
        path.write_bytes(content)
        return
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        _write_synced(file, content)
    os.replace(partial, path)


def append(path: epath.Path, content: bytes) -> None:
    """Appends to a file, creating it if needed; on disk when this returns."""
    if is_in_bucket(path):
        write(path, (path.read_bytes() if path.exists() else b"") + content)
        return
    with path.open("ab") as file:
        _write_synced(file, content)


def truncate(path: epath.Path, length: int) -> None:
    """Truncates a file to `length` bytes."""
    if is_in_bucket(path):
        write(path, path.read_bytes()[:length])
    else:
        os.truncate(path, length)


def _write_synced(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
