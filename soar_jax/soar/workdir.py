"""A workdir belongs to one config."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from soar_jax.reporting.files import write_json
from soar_jax.settings import SettingsError, require


def check(workdir: pathlib.Path, config: Any) -> None:
    """Refuses a workdir that holds another config's run; writes nothing.

    A start that got no further than its hard subset left nothing that another config could
    spoil, so its workdir may be taken over.

    Raises:
      SettingsError: names what differs.
    """
    path = workdir / "config.json"
    require("://" not in str(workdir), f"--workdir={workdir}: only local folders are supported")
    try:
        if not path.exists() or not (workdir / "metrics.jsonl").exists():
            return
        found = json.loads(path.read_text())
    except ValueError:
        raise SettingsError(f"{path} is broken; choose another --workdir or remove {workdir}") from None
    except OSError as error:
        raise SettingsError(f"cannot read the workdir {workdir}: {error.strerror}; choose another --workdir") from None
    different = sorted(_differences(found, _as_json(config)))
    require(
        not different,
        f"workdir {workdir} holds the run of another config (different: {', '.join(different[:5])}); "
        "choose another --workdir or remove it",
    )


def claim(workdir: pathlib.Path, config: Any) -> None:
    """Makes the workdir this config's. Comes after all checks, so that a refused start leaves nothing.

    Raises:
      SettingsError: it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(workdir / "config.json", _as_json(config))
    except OSError as error:
        raise SettingsError(
            f"cannot write to the workdir {workdir}: {error.strerror}; choose another --workdir"
        ) from None


def _as_json(config: Any) -> Any:
    return json.loads(json.dumps(config.to_dict()))


def _differences(a: Any, b: Any, name: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [line for key in keys for line in _differences(a.get(key), b.get(key), f"{name}.{key}".strip("."))]
    return [] if a == b else [name]
