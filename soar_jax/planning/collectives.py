"""Collectives of a compiled program, read off its HLO text."""

from __future__ import annotations

import math
import re

_KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute", "reduce-scatter")
# The result, an array or a tuple, is between the name and the kind. An asynchronous collective is counted where it is
# done: its start also returns its operands, in a form that differs between kinds and devices.
_INSTRUCTION = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.+?) ({'|'.join(_KINDS)})(?:-done)?\(", re.MULTILINE)
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_BITS = re.compile(r"[a-z]+(\d+)")


def collectives(hlo: str) -> dict[str, tuple[int, int]]:
    """Instructions of each kind of collective, and the bytes that a device has of their results.

    An instruction in a loop counts once.

    Returns:
      {kind: (instructions, bytes)}, kinds in alphabetical order.
    """
    found: dict[str, tuple[int, int]] = {}
    for result, kind in _INSTRUCTION.findall(hlo):
        count, total = found.get(kind, (0, 0))
        found[kind] = count + 1, total + sum(_num_bytes(*array) for array in _ARRAY.findall(result))
    return dict(sorted(found.items()))


def _num_bytes(dtype: str, shape: str) -> int:
    bits = _BITS.match(dtype)
    size = math.prod(int(side) for side in shape.split(",") if side)
    return size * (int(bits[1]) if bits else 8) // 8
