"""Writes the results of a suite: Markdown tables, and rows of benchmarks/results.jsonl."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.interleave import shown

FOLDER = pathlib.Path(__file__).parent


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Formats rows of texts as a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---"] * len(columns), *rows])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A table whose rows have the same columns, with a note for its readers."""

    title: str
    rows: list[dict[str, Any]]
    note: str = ""

    def markdown(self) -> str:
        """Formats the table as Markdown."""
        columns = list(self.rows[0])
        table = markdown_table(columns, ([shown(row[name]) for name in columns] for row in self.rows))
        return "\n\n".join(filter(None, (f"### {self.title}", self.note, table))) + "\n"


@dataclasses.dataclass(kw_only=True)
class SuiteReport:
    """The results of a suite, recorded table by table, so that an interrupted suite keeps its finished tables."""

    suite: str
    command: str
    environment: dict[str, Any]
    folder: pathlib.Path = FOLDER
    has_heading: bool = False

    def add(self, section: Section, keep: bool) -> str:
        """Returns the Markdown of a table, with a heading before the first one; `keep` also records its rows."""
        text = ("" if self.has_heading else self._heading()) + f"\n{section.markdown()}"
        self.has_heading = True
        if keep:
            self.record(section)
        return text

    def record(self, section: Section) -> None:
        """Appends the rows of a table to results.jsonl."""
        with (self.folder / "results.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(self._line(section, row) for row in section.rows)

    def _heading(self) -> str:
        facts = {**self.environment, **self.environment["versions"]}
        del facts["versions"]
        where = ", ".join(f"{name} {value}" for name, value in facts.items())
        return f"\n## {self.suite}, {self.environment['date']}\n\n`{self.command}`\n\n{where}\n"

    def _line(self, section: Section, row: dict[str, Any]) -> str:
        names = {"suite": self.suite, "table": section.title}
        return json.dumps({**names, **row, "command": self.command, "environment": self.environment}) + "\n"
