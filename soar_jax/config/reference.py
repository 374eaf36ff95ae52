"""Every config key with its type, value, meaning, and the paper's value, as text."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, get_type_hints

from soar_jax.config.fields import Choice, Rule, Section
from soar_jax.config.run_config import RunConfig

_WIDTH = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """One config key."""

    name: str
    kind: str  # of its value
    value: Any
    help: str
    paper: str  # the paper's value and its place; empty where the paper has none
    execution_only: bool  # whether it changes how a run executes but not its results


def keys(section: Section, prefix: str = "") -> Iterator[Key]:
    """All keys of a section, those of its own sections too, in their order."""
    types = get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            yield from keys(value, f"{prefix}{field.name}.")
            continue
        kind = types[field.name]
        yield Key(
            name=f"{prefix}{field.name}",
            kind=kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__origin__") else str(kind),
            value=value,
            help=field.metadata["help"] + _choices(f"{prefix}{field.name}", field.metadata["rules"]),
            paper=field.metadata["paper"],
            execution_only=field.metadata["execution_only"],
        )


def _choices(key: str, rules: Iterable[Rule]) -> str:
    """The names that a key has, as the end of its help; empty where it has none."""
    return "".join(f"; choices: {', '.join(rule.names(key))}" for rule in rules if isinstance(rule, Choice))


def table(config: RunConfig) -> str:
    """The keys of a config for a terminal, with its values."""
    lines = [f"config of {config.method}:{config.scale}; * changes how a run executes but not its results", ""]
    for key in keys(config):
        lines.append(f"{key.name}={key.value!r}  ({key.kind}){' *' if key.execution_only else ''}")
        lines += textwrap.wrap(key.help, _WIDTH, initial_indent="    ", subsequent_indent="    ")
        if key.paper:
            lines += textwrap.wrap(f"paper: {key.paper}", _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The keys with their defaults, as a page of the documentation."""
    lines = [
        "# Configuration",
        "",
        "Made from the sections in `soar_jax/config/` by `python -m soar_jax.config`; a test compares it.",
        "Defaults are the paper's protocol at Llama-3.2-3B-Instruct; `soar_jax/config/scales.py` lists what a scale",
        "changes. Any key can be overridden by `--config.KEY=VALUE`. Keys marked * change how a run executes but not",
        "its results: a run may resume with other values.",
        "",
        "| key | type | default | meaning | paper |",
        "|---|---|---|---|---|",
    ]
    for key in keys(RunConfig()):
        cells = [
            f"`{key.name}`{' *' if key.execution_only else ''}",
            f"`{key.kind}`",
            f"`{key.value!r}`",
            key.help,
            key.paper,
        ]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"
