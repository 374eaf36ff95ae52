"""Defaults of transformers' config classes, which apply where a `config.json` lacks a key."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection, Mapping
from typing import Any

# Keys where null has a meaning of its own: as many as query heads; no window.
_MEANING_OF_NULL = ("num_key_value_heads", "sliding_window")


def fill_in(raw: Mapping[str, Any], family: str, keys: Collection[str]) -> dict[str, Any]:
    """Returns a `config.json` in which missing keys have the defaults of its family.

    Args:
      raw: the file.
      family: its `model_type`; one that transformers does not have has no defaults.
      keys: those that are filled in.
    """
    defaults = {key: value for key, value in _class_defaults(family).items() if key in keys}
    given = {key: value for key, value in raw.items() if value is not None or key in _MEANING_OF_NULL}
    return dict(raw) | defaults | given


@functools.cache
def _class_defaults(family: str) -> Mapping[str, Any]:
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # silences that torch is missing
    from transformers import CONFIG_MAPPING  # here, since the import takes seconds

    if family not in CONFIG_MAPPING:
        return {}
    family_class: Any = CONFIG_MAPPING[family]
    fields = dataclasses.fields(family_class)
    theta = family_class.default_theta
    thetas = theta if isinstance(theta, dict) else {"global": theta, "local": theta}  # of full attention, of windows
    return {
        **{field.name: field.default for field in fields if field.default not in (None, dataclasses.MISSING)},
        "rope_theta": thetas["global"],
        "rope_local_base_freq": thetas["local"],
    }
