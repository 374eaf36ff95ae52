"""A program's folder of results: for one purpose, one process at a time, and what is in it is kept."""

from __future__ import annotations

import json
from typing import IO, Any

from etils import epath

from soar_jax.parallel import processes
from soar_jax.storage import files
from soar_jax.storage.records import read_json, write_json
from soar_jax.settings import SettingsError, require

SETTINGS, LOCK = "settings.json", ".lock"


def check(out: epath.Path) -> None:
    """Refuses a folder that holds other things than results of these programs; writes nothing.

    Raises:
      SettingsError: it does, or cannot be read.
    """
    files.check_bucket(out)
    try:
        others = {path.name for path in out.iterdir()} - {LOCK} if out.exists() else set()
    except OSError as error:
        raise SettingsError(f"cannot read --out={out}: {files.reason(error)}; choose another folder") from None
    require(not others or SETTINGS in others, f"--out={out} holds other files; choose a new or empty folder")


def claim(out: epath.Path, settings: dict[str, Any]) -> IO[str]:
    """Makes a folder this process's own; `settings.json` says what its results depend on.

    Returns:
      The lock: the folder is free again when it is closed or the process ends, however it ends. A bucket is not locked.

    Raises:
      DisagreementError: processes of one program would ask others or otherwise.
      SettingsError: the folder holds results that depend on other settings, or other files; it cannot be written; or
        another process is at work in it.
    """
    processes.assert_equal("the model, the problems or the settings", settings)
    settings = json.loads(json.dumps(settings))
    with files.claiming(f"--out={out}", "folder"):
        out.mkdir(parents=True, exist_ok=True)
        check(out)
        lock = files.lock(out / LOCK)
        if processes.any_process((out / SETTINGS).exists()):  # as it is before any process writes it
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
