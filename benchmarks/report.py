"""What a suite found, as tables for people and lines for programs."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from benchmarks.interleave import shown

FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A table: rows of the same columns, and what must be known to read it."""

    title: str
    rows: list[dict[str, Any]]
    note: str = ""

    def markdown(self) -> str:
        """The table in Markdown."""
        columns = list(self.rows[0])
        lines = [columns, ["---"] * len(columns), *([shown(row[name]) for name in columns] for row in self.rows)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(part for part in (f"### {self.title}", self.note, table) if part) + "\n"


@dataclasses.dataclass(kw_only=True)
class Part:
    """A suite's part of the results, which grows a table at a time, so that a run that is stopped keeps what it has."""

    suite: str
    command: str
    environment: dict[str, Any]
    folder: pathlib.Path = FOLDER
    has_head: bool = False

    def add(self, section: Section, keep: bool) -> str:
        """The Markdown of a table, the part's head before the first; `keep` appends it to the files."""
        text = ("" if self.has_head else self._head()) + f"\n{section.markdown()}"
        self.has_head = True
        if keep:
            with (self.folder / "RESULTS.md").open("a", encoding="utf-8") as file:
                file.write(text)
            with (self.folder / "results.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(self._line(section, row) for row in section.rows)
        return text

    def _head(self) -> str:
        facts = {**self.environment, **self.environment["versions"]}
        del facts["versions"]
        where = ", ".join(f"{name} {value}" for name, value in facts.items())
        return f"\n## {self.suite}, {self.environment['date']}\n\n`{self.command}`\n\n{where}\n"

    def _line(self, section: Section, row: dict[str, Any]) -> str:
        what = {"suite": self.suite, "table": section.title, **row}
        return json.dumps({**what, "command": self.command, "environment": self.environment}) + "\n"
