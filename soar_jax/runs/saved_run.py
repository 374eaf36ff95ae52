"""Reads what a run has saved in its workdir, for programs that use its policies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from soar_jax.config.fields import read_section
from soar_jax.config.run_config import RunConfig
from soar_jax.config.saved import with_legacy_values
from soar_jax.errors import SettingsError, require


def saved_config(workdir: epath.Path) -> dict[str, Any] | None:
    """Reads the `config.json` of a run as nested dicts; None if the folder is no run's workdir."""
    try:
        found = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "method" in found else None


def read_keys(workdir: epath.Path, saved: dict[str, Any], keys: Sequence[str]) -> RunConfig:
    """Makes a typed config of some keys and sections of a saved config; the others have their defaults.

    Raises:
      SettingsError: another version of this package has saved it, whose keys differ.
    """
    try:
        return read_section(RunConfig, with_legacy_values({key: saved[key] for key in keys}))
    except (AttributeError, KeyError, TypeError, SettingsError):
        raise SettingsError(f"{workdir} holds a run of another version of soar_jax; run it again") from None


def check_base(workdir: epath.Path, source: str, *, saved_sha256: str, sha256: str) -> None:
    """Checks that a base model's weights are those that a run was made with.

    Raises:
      SettingsError: they are others.
    """
    require(
        saved_sha256 == sha256,
        f"model.source {source!r} holds other weights than when {workdir} was begun; bring them back",
    )
