"""A workdir belongs to one config, but for the keys that say how a run is computed."""

from __future__ import annotations

import json
from typing import IO, Any

from etils import epath

from soar_jax.storage import files
from soar_jax.storage.records import write_json
from soar_jax.settings import AUTO, SettingsError, require, what


def check(workdir: epath.Path, config: Any) -> list[str]:
    """Refuses a workdir that holds another config's run; writes nothing.

    A start that got no further than its hard subset left nothing that another config could
    spoil, so its workdir may be taken over.

    Returns:
      Keys in which the run that goes on here is computed in another way than before.

    Raises:
      SettingsError: names what differs.
    """
    path = workdir / "config.json"
    files.check_bucket(workdir)
    try:
        if not path.exists() or not has_begun(workdir):
            return []
        found = json.loads(path.read_text())
    except ValueError:
        raise SettingsError(f"{path} is broken; choose another --workdir or remove {workdir}") from None
    except OSError as error:
        reason = files.reason(error)
        raise SettingsError(f"cannot read the workdir {workdir}: {reason}; choose another --workdir") from None
    found, given = (value if isinstance(value, dict) else {} for value in (found, _as_json(config)))
    kept = found.get("model")
    if given["model"]["dtype"] == AUTO and isinstance(kept, dict):  # what is not settled yet may become what it was
        given["model"]["dtype"] = kept.get("dtype")
    different = sorted(_differences(what(found), what(given)))
    require(
        not different,
        f"workdir {workdir} holds the run of another config (different: {', '.join(different[:5])}); "
        "choose another --workdir or remove it",
    )
    return sorted(_differences(found, given))


def has_begun(workdir: epath.Path) -> bool:
    """Whether a run has got further than its hard subset."""
    begun = any((workdir / name).exists() for name in ("metrics.jsonl", "results"))
    return begun or any(name[:1].isdigit() for name in files.names(workdir / "checkpoints"))


def claim(workdir: epath.Path, config: Any) -> IO[str]:
    """Makes the workdir this config's, and this process its only writer.

    Returns:
      The lock: the workdir is free again when it is closed or the process ends, however it ends. A bucket is
      not locked: see to it that one run at a time writes to a workdir there.

    Raises:
      SettingsError: it cannot be written, or another process is running in it.
    """
    with files.claiming(f"the workdir {workdir}", "--workdir"):
        workdir.mkdir(parents=True, exist_ok=True)
        lock = files.lock(workdir / ".lock")
        write_json(workdir / "config.json", _as_json(config))
    return lock


def _as_json(config: Any) -> Any:
    return json.loads(json.dumps(config.to_dict()))


def _differences(a: Any, b: Any, name: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [line for key in keys for line in _differences(a.get(key), b.get(key), f"{name}.{key}".strip("."))]
    return [] if a == b else [name]
