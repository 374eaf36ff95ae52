"""Reads which steps the files of W&B's offline mode hold: its package writes them, and offers no reader.

A file is a log of LevelDB: a header, then blocks of 32 KiB with records or parts of records.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import struct
import time
from collections.abc import Iterator

_HEADER_BYTES = 7  # of the file, and of each part of a record: checksum, length, kind
_BLOCK_BYTES = 32768
_WRITE_TIMEOUT_S = 20.0
_WHOLE, _LAST = 1, 4  # kinds of parts that end a record


def last_step(folder: pathlib.Path, run_id: str) -> int | None:
    """Returns the last step of a run in the offline folders in `folder`, -1 if there is none; None if unreadable."""
    steps = [-1]
    try:
        record = importlib.import_module("wandb.proto.wandb_internal_pb2").Record  # its types lack it
        for file in folder.glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"):
            for content in _records(file.read_bytes()):
                items = record.FromString(content).history.item
                steps += [int(json.loads(item.value_json)) for item in items if "_step" in (item.key, *item.nested_key)]
    except Exception:  # another format than that of the versions known here
        return None
    return max(steps)


def wait_for_step(folder: pathlib.Path, run_id: str, step: int) -> None:
    """Waits until a step is on disk: the package ends a run a moment before it has written all of it.

    Raises:
      TimeoutError: it is not written in time.
    """
    deadline = time.monotonic() + _WRITE_TIMEOUT_S
    while (found := last_step(folder, run_id)) is not None and found < step:
        if time.monotonic() > deadline:
            raise TimeoutError(f"wandb has not written step {step} to {folder}")
        time.sleep(0.05)


def _records(content: bytes) -> Iterator[bytes]:
    """Yields the complete records of a file, whose end may be missing."""
    place, record = _HEADER_BYTES, b""
    while place + _HEADER_BYTES <= len(content):
        left = _BLOCK_BYTES - place % _BLOCK_BYTES
        if left < _HEADER_BYTES:  # too few for another part
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        place += _HEADER_BYTES
        if place + size > len(content):
            return
        record += content[place : place + size]
        place += size
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""
