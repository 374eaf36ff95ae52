"""JSON and JSON-lines files: append-only rows that are truncated on resume, and files written atomically.

Only the main process writes. A write returns in all processes when it is done, so that they may read the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from soar_jax.errors import SettingsError, require
from soar_jax.parallel import processes
from soar_jax.storage import files


def to_line(row: Mapping[str, Any]) -> str:
    """Serializes one row of a JSON-lines file."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_lines(path: epath.Path) -> list[dict[str, Any]]:
    """Reads the rows of a JSON-lines file; empty if it does not exist.

    Splits only at newlines, since model text may contain other line separators.

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
    """Reads a JSON file.

    Raises:
      SettingsError: it is broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise SettingsError(f"{path} is broken; remove it and start again, and it will be made again") from None


def replace_text(path: epath.Path, text: str) -> None:
    """Writes a text file atomically."""
    if processes.is_main():
        files.write(path, text.encode())
    processes.sync()


def write_json(path: epath.Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    replace_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class JsonLines:
    """An append-only file with one JSON object per line; created by the first `append`."""

    def __init__(self, path: epath.Path) -> None:
        self.path = path

    def append(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Appends rows, on disk when this returns, and returns the file's size in bytes.

        No rows leave everything as it is.
        """
        content = "".join(map(to_line, rows)).encode()
        if content and processes.is_main():
            files.append(self.path, content)
        # Other processes may see it late.
        return int(processes.broadcast_from_main(lambda: files.size(self.path) if self.path.exists() else 0))

    def truncate(self, size: int) -> None:
        """Truncates the file to `size` bytes, which drops rows of a step that was never saved.

        Raises:
          SettingsError: the file is shorter, so rows of saved steps are lost.
        """
        found = files.size(self.path) if self.path.exists() else 0
        require(
            found >= size,
            f"{self.path} has {found} bytes, the checkpoint knows {size}: rows are lost; bring the file back, or "
            "start anew in another --workdir",
        )
        processes.sync()  # all processes see the same size
        if found > size and processes.is_main():
            files.truncate(self.path, size)
        processes.sync()


def rename(path: epath.Path, other: epath.Path) -> None:
    """Renames a file."""
    processes.sync()  # all processes have looked for it
    if processes.is_main():
        path.replace(other)
    processes.sync()


def remove(path: epath.Path) -> None:
    """Removes a file if it exists."""
    processes.sync()  # no process reads it
    if processes.is_main():
        path.unlink(missing_ok=True)
    processes.sync()


def remove_folder(path: epath.Path) -> None:
    """Removes a folder with all that is in it, if it exists."""
    processes.sync()  # no process reads it
    if processes.is_main():
        path.rmtree(missing_ok=True)
    processes.sync()
