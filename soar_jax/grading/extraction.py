"""Final answers in what a model wrote. Model text is hostile input: it is only searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

MAX_ANSWER_CHARACTERS = 1000  # a longer "answer" is none
MAX_SEARCHED_CHARACTERS = 20_000  # at the end of a text, where its final answer is looked for

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_NUMBER = re.compile(r"(?:(?<![\w)])-)?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


def after_equals(text: str) -> str | None:
    """What stands behind the last equals sign."""
    _, mark, tail = text.rpartition("=")
    return tail if mark else None


def boxed(text: str) -> str | None:
    r"""What the last `\boxed{…}` holds, braces within it balanced; an unfinished box is none."""
    start = None
    for match in _BOX.finditer(text):
        start = match.end()
    return None if start is None else _in_braces(text, start)


def hash_marks(text: str) -> str | None:
    """The rest of the line behind the last `####`, as GSM8K writes its answers."""
    _, mark, tail = text.rpartition("####")
    return tail.partition("\n")[0] if mark else None


def last_number(text: str) -> str | None:
    """The last number in the text; a minus between two numbers is no sign."""
    found = _NUMBER.findall(text)
    return found[-1].rstrip(",").replace("-$", "-") if found else None


EXTRACTORS: dict[str, Callable[[str], str | None]] = {
    "after_equals": after_equals,
    "boxed": boxed,
    "hash_marks": hash_marks,
    "last_number": last_number,
}


def extract(text: str, names: Sequence[str]) -> str | None:
    """The final answer, blanks normalised, by the first extractor that finds one; None where none does."""
    searched = text[-MAX_SEARCHED_CHARACTERS:]
    for name in names:
        found = EXTRACTORS[name](searched)
        if found is not None and len(found) <= MAX_ANSWER_CHARACTERS and found.strip():
            return " ".join(found.split())
    return None


def _in_braces(text: str, start: int) -> str | None:
    """What stands between the brace at `start` and its partner; escaped braces do not count."""
    depth, place = 0, start
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : place]
        place += 1
    return None
