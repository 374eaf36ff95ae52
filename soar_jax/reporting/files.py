"""JSON and JSON-lines files: append-only rows that are cut back on resume, and files that appear whole.

Of several processes the first writes; a write returns in all of them when it is done, so that they may read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from soar_jax.parallel import hosts
from soar_jax.reporting import storage
from soar_jax.settings import SettingsError, require


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
    if hosts.is_main():
        storage.put(path, text.encode())
    hosts.sync()


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
        if hosts.is_main():
            storage.append(self.path, "".join(map(to_line, rows)).encode())
        return int(hosts.from_main(lambda: storage.size(self.path)))  # others may not see it at once

    def cut(self, size: int) -> None:
        """Drops everything behind `size` bytes: rows of a step that was never saved.

        Raises:
          SettingsError: the file is shorter, so rows of saved steps are gone.
        """
        found = storage.size(self.path) if self.path.exists() else 0
        require(
            found >= size,
            f"{self.path} has {found} bytes, the checkpoint knows {size}: rows are lost; bring the file back, or "
            "start anew in another --workdir",
        )
        hosts.sync()  # all have seen the same size
        if found > size and hosts.is_main():
            storage.truncate(self.path, size)
        hosts.sync()


def rename(path: epath.Path, other: epath.Path) -> None:
    """Gives a file another name."""
    hosts.sync()  # all know what there is
    if hosts.is_main():
        path.replace(other)
    hosts.sync()


def remove(path: epath.Path) -> None:
    """Removes a file if it is there."""
    hosts.sync()  # nobody is reading it
    if hosts.is_main():
        path.unlink(missing_ok=True)
    hosts.sync()
