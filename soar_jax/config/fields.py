"""How a config key is declared: its default, meaning, rules, and the paper's value.

A section is a frozen dataclass whose fields are made by `setting`. Everything that is said of a key stands in its
field, and checks, help, documentation and a run's identity are derived from it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from soar_jax.errors import check_choice, require
from soar_jax.registry import import_function, registry

Rule = Callable[[str, Any], None]  # of a key's name and value; raises SettingsError
S = TypeVar("S", bound="Section")

SENTENCE_TRANSFORMERS = "sentence-transformers:"  # in `analysis.embeddings`, before the name of a model
_KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


def setting(
    default: Any,
    help: str,
    *rules: Rule,
    paper: str = "",
    execution_only: bool = False,
    legacy: Any = None,
) -> Any:
    """Declares a config key.

    Args:
      help: what the key means, with its unit.
      rules: what its value must obey.
      paper: the paper's value and its place, e.g. "64 (Table 3)".
      execution_only: whether the key changes how a run executes but not its results. A run may resume with another
        value.
      legacy: the value of runs that were saved before the key existed.
    """
    meta = {"help": help, "rules": rules, "paper": paper, "execution_only": execution_only, "legacy": legacy}
    return dataclasses.field(default=default, metadata=meta)


def section(kind: type, help: str, execution_only: bool = False) -> Any:
    """Declares a section, a dataclass of keys of its own."""
    return dataclasses.field(
        default_factory=kind, metadata={"help": help, "execution_only": execution_only, "legacy": None}
    )


def at_least(minimum: float, meaning: str = "") -> Rule:
    """A value of at least `minimum`; `meaning` says what the minimum itself does, e.g. "off"."""
    said = f"{minimum} ({meaning}) or more" if meaning else "0 or more" if minimum == 0 else f"at least {minimum}"
    return satisfies(lambda value: value >= minimum, f"it must be {said}")


def positive(value: Any) -> bool:
    """More than zero."""
    return bool(value > 0)


def satisfies(test: Callable[[Any], bool], message: str) -> Rule:
    """A value that passes a test; `message` says what it must be."""

    def rule(name: str, value: Any) -> None:
        shown = "empty" if value in ("", ()) else value
        require(test(value), f"{name} is {shown}; {message}")

    return rule


def fraction(name: str, value: float) -> None:
    """A part of a whole, 0 to 1."""
    require(0 <= value <= 1, f"{name} is {value}; it must be 0 to 1")


def two_shares(name: str, values: Sequence[float]) -> None:
    """Two parts of a whole, the lower first."""
    require(
        len(values) == 2 and 0 <= values[0] <= values[1] <= 1,
        f"{name} is {tuple(values)}; give two shares, the lower first",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """Rule: the value, or each of a tuple, is one of the names that a key has. The help of the key lists them."""

    names: Callable[[str], Iterable[str]]  # of a key

    def __call__(self, name: str, value: str | Sequence[str]) -> None:
        for each in (value,) if isinstance(value, str) else value:
            check_choice(name, each, tuple(self.names(name)))


def one_of(*choices: str) -> Choice:
    """One of a fixed set of texts, or a tuple of some."""
    return Choice(names=lambda key: choices)


def text_or_name(names: Iterable[str]) -> Rule:
    """A text of several words. A single word that is no name is refused: it may be a misspelt name."""
    return satisfies(
        lambda value: value in names or not re.fullmatch(r"[a-z0-9_]*", value.strip()),
        f"give one of the names {', '.join(names)}, or a text of several words",
    )


def distinct(name: str, values: Sequence[Any]) -> None:
    """Each value once."""
    require(len(set(values)) == len(values), f"{name} is {tuple(values)}; name each only once")


def contains(text: str, why: str) -> Rule:
    """A text that contains another one."""
    return lambda name, value: require(text in value, f"{name} lacks {text}: {why}")


def integers(name: str, values: Sequence[Any]) -> None:
    """At least one whole number, each 1 or more."""
    require(
        len(values) > 0 and all(type(value) is int and value >= 1 for value in values),
        f"{name} is {tuple(values)}; give at least one whole number, each 1 or more",
    )


def integers_or_none(name: str, values: Sequence[Any]) -> None:
    """Whole numbers, each 1 or more, or none at all."""
    if values:
        integers(name, values)


class _RegisteredOrFunction(Choice):
    """An entry of the registry behind the key, or "MODULE:FUNCTION"."""

    def __call__(self, name: str, value: str | Sequence[str]) -> None:
        if isinstance(value, str) and ":" in value:
            import_function(name, value)
        else:
            super().__call__(name, value)


registered = Choice(names=registry)  # entries of the registry behind the key
known_source = Choice(names=lambda key: ("arithmetic", *registry("problems.source")))
known_reward = _RegisteredOrFunction(names=registry)


def known_embedder(name: str, value: str) -> None:
    """The model itself, or a model of sentence-transformers."""
    require(
        value == "model" or (value.startswith(SENTENCE_TRANSFORMERS) and value != SENTENCE_TRANSFORMERS),
        f"{name} is {value!r}; use 'model' or '{SENTENCE_TRANSFORMERS}NAME_OR_FOLDER'",
    )


def source_or(absent: str) -> Rule:
    """As `known_source`, or the value that means no source."""
    return lambda name, value: None if value == absent else known_source(name, value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Base class of config sections."""

    def to_dict(self) -> dict[str, Any]:
        """Nested dicts with sorted keys."""
        return {
            name: value.to_dict() if isinstance(value, Section) else value
            for name, value in sorted((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        }

    def identity(self) -> dict[str, Any]:
        """`to_dict` without execution-only keys: everything that a run's results depend on, except for rounding."""
        kept = {field.name for field in dataclasses.fields(self) if not field.metadata["execution_only"]}
        return {
            name: getattr(self, name).identity() if isinstance(value, dict) else value
            for name, value in self.to_dict().items()
            if name in kept
        }


def read_section(kind: type[S], values: Mapping[str, Any], name: str = "") -> S:
    """Makes a section of nested mappings, and checks each key by its type and rules. Missing keys have their default.

    Raises:
      SettingsError: a key does not exist, or its value is not usable.
    """
    types = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{name}." if name else ""
    for key in values:
        require(key in fields, f"no such config key: {prefix}{key}; there are {', '.join(sorted(fields))}")
    read = {key: _read_value(types[key], value, prefix + key) for key, value in values.items()}
    made = kind(**read)
    for key, field in fields.items():
        for rule in field.metadata.get("rules", ()):
            rule(prefix + key, getattr(made, key))
    return made


def _read_value(kind: Any, value: Any, name: str) -> Any:
    """The value of a key in its declared type; JSON's lists become tuples."""
    if isinstance(kind, type) and issubclass(kind, Section):
        require(isinstance(value, Mapping), f"{name} is {value!r}; it is a section and has keys of its own")
        return read_section(kind, value, name)
    if get_origin(kind) is tuple:
        require(isinstance(value, list | tuple), f"{name} is {value!r}; it must be a tuple")
        item = get_args(kind)[0]
        if item is int:  # the rules `integers` and `integers_or_none` check each, and show the whole tuple
            return tuple(value)
        return tuple(_read_value(item, each, f"{name}[{index}]") for index, each in enumerate(value))
    if kind is float and type(value) is int:
        value = float(value)
    require(type(value) is kind, f"{name} is {value!r}; it must be {_KINDS.get(kind, kind)}")
    require(kind is not float or math.isfinite(value), f"{name} is {value}; give a number")
    return value
