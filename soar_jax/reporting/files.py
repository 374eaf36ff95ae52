"""Append-only JSON-lines files beside the checkpoints, cut back to the saved step on resume."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any


class JsonLines:
    """One JSON object a line."""

    def __init__(self, path: pathlib.Path) -> None:
        """Nothing is written until the first `append`."""
        self.path = path

    def append(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Adds rows, on disk when this returns; the file's size in bytes."""
        with self.path.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def cut(self, size: int) -> None:
        """Drops everything behind `size` bytes: rows of a step that was never saved."""
        if self.path.exists():
            os.truncate(self.path, size)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
