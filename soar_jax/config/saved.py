"""Configs that runs have saved: what they are compared by, and the keys that did not exist then."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from soar_jax.config.fields import Section
from soar_jax.config.run_config import RunConfig

_FORMER_EXECUTION_ONLY_KEYS = {"student.bucket_tokens", "teacher.bucket_tokens"}  # now `completion_buckets`


def differing_keys(saved: Any, config: RunConfig, identity_only: bool) -> list[str]:
    """Keys in which a saved config, as nested dicts of JSON, differs from a config.

    Args:
      identity_only: leave out execution-only keys.
    """
    given = as_json(config.identity() if identity_only else config.to_dict())
    saved = saved if isinstance(saved, dict) else {}
    saved = identity_of(saved) if identity_only else with_legacy_values(saved)
    return sorted(_differences(saved, given))


def identity_of(saved: dict[str, Any]) -> dict[str, Any]:
    """A saved config, as nested dicts, without execution-only keys."""
    complete: dict[str, Any] = with_legacy_values(saved)
    if complete.get("lora", {}).get("rank") == 0:
        complete |= {"lora": {"rank": 0}}  # as `LoRASection.identity`
    return _without(complete, execution_only_keys() | _FORMER_EXECUTION_ONLY_KEYS)


def execution_only_keys(kind: type[Section] = RunConfig, prefix: str = "") -> set[str]:
    """Keys, and whole sections, that change how a run executes but not its results."""
    found: set[str] = set()
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = f"{prefix}{field.name}"
        if field.metadata["execution_only"]:
            found.add(name)
        elif dataclasses.is_dataclass(types[field.name]):
            found |= execution_only_keys(types[field.name], f"{name}.")
    return found


def as_json(value: Any) -> Any:
    """Nested dicts as JSON gives them back: tuples are lists."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, list | tuple) else value


def _without(saved: dict[str, Any], dropped: set[str], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(value, dropped, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in saved.items()
        if f"{prefix}{key}" not in dropped
    }


def _differences(a: Any, b: Any, name: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [line for key in keys for line in _differences(a.get(key), b.get(key), f"{name}.{key}".strip("."))]
    return [] if a == b else [name]


def with_legacy_values(saved: Any, kind: type[Section] = RunConfig) -> Any:
    """A saved config, as nested dicts, in which keys that did not exist then have the value that runs had."""
    if not isinstance(saved, dict):
        return saved
    types, filled = get_type_hints(kind), dict(saved)
    for field in dataclasses.fields(kind):
        if issubclass(types[field.name], Section) if isinstance(types[field.name], type) else False:
            if field.name in filled or _is_new(types[field.name]):
                filled[field.name] = with_legacy_values(filled.get(field.name, {}), types[field.name])
        elif field.metadata["legacy"] is not None:
            filled.setdefault(field.name, field.metadata["legacy"])
    return filled


def _is_new(kind: type[Section]) -> bool:
    """Whether a section did not exist in older versions: all its keys have a legacy value."""
    return all(field.metadata["legacy"] is not None for field in dataclasses.fields(kind))
