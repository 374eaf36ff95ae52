"""JSON and JSON-lines files: append-only rows that are cut back on resume, and files that appear whole.

Of several processes the first writes; a write returns in all of them when it is done, so that they may read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from soar_jax.parallel import processes
from soar_jax.settings import SettingsError, require
from soar_jax.storage import files


def to_line(row: Mapping[str, Any]) -> str:
    """One row as it stands in a file."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_lines(path: epath.Path) -> list[dict[str, Any]]:
    """All rows of a JSON-lines file; none where there is no file.

    Split at newlines alone: model text may hold other characters that end a line.

    Raises:
      SettingsError: a row is not JSON.
    """
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except ValueError:
        raise SettingsError(f"{path} is broken; bring it back as it was, or start anew in another --workdir") from None


def read_json(path: epath.Path) -> Any:
    """The value of a JSON file.

    Raises:
      SettingsError: it is broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise SettingsError(f"{path} is broken; remove it and start again, and it will be made again") from None


def replace_text(path: epath.Path, text: str) -> None:
    """Writes a file that appears whole, on disk, or not at all."""
    if processes.is_main():
        files.put(path, text.encode())
    processes.sync()


def write_json(path: epath.Path, value: Any) -> None:
    """Writes a JSON file that appears whole or not at all."""
    replace_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class JsonLines:
    """One JSON object a line."""

    def __init__(self, path: epath.Path) -> None:
        """Nothing is written until the first `append`."""
        self.path = path

    def append(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Adds rows, on disk when this returns; the file's size in bytes."""
        if processes.is_main():
            files.append(self.path, "".join(map(to_line, rows)).encode())
        return int(processes.broadcast_from_main(lambda: files.size(self.path)))  # others may not see it at once

    def cut(self, size: int) -> None:
        """Drops everything behind `size` bytes: rows of a step that was never saved.

        Raises:
          SettingsError: the file is shorter, so rows of saved steps are gone.
        """
        found = files.size(self.path) if self.path.exists() else 0
        require(
            found >= size,
            f"{self.path} has {found} bytes, the checkpoint knows {size}: rows are lost; bring the file back, or "
            "start anew in another --workdir",
        )
        processes.sync()  # all have seen the same size
        if found > size and processes.is_main():
            files.truncate(self.path, size)
        processes.sync()


def rename(path: epath.Path, other: epath.Path) -> None:
    """Gives a file another name."""
    processes.sync()  # all know what there is
    if processes.is_main():
        path.replace(other)
    processes.sync()


def remove(path: epath.Path) -> None:
    """Removes a file if it is there."""
    processes.sync()  # nobody is reading it
    if processes.is_main():
        path.unlink(missing_ok=True)
    processes.sync()
