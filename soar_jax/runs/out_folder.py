"""The results folder of a program: used with one set of settings, by one program at a time."""

from __future__ import annotations

import json
from typing import IO, Any

from etils import epath

from soar_jax.errors import SettingsError, require
from soar_jax.parallel import processes
from soar_jax.storage import files
from soar_jax.storage.records import read_json, write_json

SETTINGS, LOCK = "settings.json", ".lock"


def check_out_folder(out: epath.Path) -> None:
    """Checks that a folder contains nothing but results of these programs; writes nothing.

    Raises:
      SettingsError: it contains other files, or cannot be read.
    """
    files.check_bucket(out)
    try:
        others = {path.name for path in out.iterdir()} - {LOCK} if out.exists() else set()
    except OSError as error:
        raise SettingsError(f"cannot read --out={out}: {files.error_reason(error)}; choose another folder") from None
    require(not others or SETTINGS in others, f"--out={out} holds other files; choose a new or empty folder")


def claim_out_folder(out: epath.Path, settings: dict[str, Any]) -> IO[str]:
    """Locks a folder, and writes `settings.json`: everything that its results depend on.

    Returns:
      The lock, released when it is closed or the process ends. A bucket is not locked.

    Raises:
      DisagreementError: the settings differ between processes of the program.
      SettingsError: the folder contains results of other settings, or other files; it cannot be written; or another
        program uses it.
    """
    processes.assert_equal("the model, the problems or the settings", settings)
    settings = json.loads(json.dumps(settings))
    with files.lock_errors(f"--out={out}", "folder"):
        out.mkdir(parents=True, exist_ok=True)
        check_out_folder(out)
        lock = files.lock(out / LOCK)
        if processes.any_process((out / SETTINGS).exists()):  # evaluated by all processes before any writes it
            _check_same(out, read_json(out / SETTINGS), settings)
        else:
            write_json(out / SETTINGS, settings)
    return lock


def _check_same(out: epath.Path, found: Any, settings: dict[str, Any]) -> None:
    found = found if isinstance(found, dict) else {}
    different = [key for key in sorted(settings.keys() | found.keys()) if found.get(key) != settings.get(key)]
    require(
        not different,
        f"--out={out} holds results of other settings (different: {', '.join(different)}); choose another folder",
    )
