"""Checks and locks workdirs. A workdir belongs to one config, except for execution-only keys."""

from __future__ import annotations

import dataclasses
import json
from typing import IO

from etils import epath

from soar_jax.config.run_config import RunConfig
from soar_jax.config.saved import as_json, differing_keys
from soar_jax.config.sections import AUTO
from soar_jax.errors import SettingsError, require
from soar_jax.storage import files
from soar_jax.storage.records import write_json


def check_workdir(workdir: epath.Path, config: RunConfig) -> list[str]:
    """Checks that a workdir contains no run of another config; writes nothing.

    A run that ended before its first outer step or result does not count: another config may use its workdir.

    Returns:
      The execution-only keys whose values differ from the run that is resumed.

    Raises:
      SettingsError: the workdir contains another run, or cannot be read.
    """
    path = workdir / "config.json"
    files.check_bucket(workdir)
    try:
        if not path.exists() or not has_begun(workdir):
            return []
        saved = json.loads(path.read_text())
    except ValueError:
        raise SettingsError(f"{path} is broken; choose another --workdir or remove {workdir}") from None
    except OSError as error:
        reason = files.error_reason(error)
        raise SettingsError(f"cannot read the workdir {workdir}: {reason}; choose another --workdir") from None
    saved = saved if isinstance(saved, dict) else {}
    model = saved.get("model")
    if config.model.dtype == AUTO and isinstance(model, dict):  # compare with the dtype that "auto" became
        dtype = str(model.get("dtype"))
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=dtype))
    different = differing_keys(saved, config, identity_only=True)
    require(
        not different,
        f"workdir {workdir} holds the run of another config (different: {', '.join(different[:5])}); "
        "choose another --workdir or remove it",
    )
    return differing_keys(saved, config, identity_only=False)


def has_begun(workdir: epath.Path) -> bool:
    """Whether a workdir contains an outer step, a result, or final students in training."""
    begun = any((workdir / name).exists() for name in ("metrics.jsonl", "results", "final_training"))
    return begun or any(name[:1].isdigit() for name in files.list_names(workdir / "checkpoints"))


def claim_workdir(workdir: epath.Path, config: RunConfig) -> IO[str]:
    """Locks a workdir, and writes `config.json`.

    Returns:
      The lock, released when it is closed or the process ends. A bucket is not locked: start only one run at a time
      in a workdir there.

    Raises:
      SettingsError: the workdir cannot be written, or another run uses it.
    """
    with files.lock_errors(f"the workdir {workdir}", "--workdir"):
        workdir.mkdir(parents=True, exist_ok=True)
        lock = files.lock(workdir / ".lock")
        write_json(workdir / "config.json", as_json(config.to_dict()))
    return lock
