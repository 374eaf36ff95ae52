"""Extracts final answers from model text, which is untrusted: it is searched, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from soar_jax.registry import Registry

MAX_ANSWER_CHARACTERS = 1000  # longer matches are not answers
MAX_SEARCHED_CHARACTERS = 20_000  # at the end of a text

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_NUMBER = re.compile(r"(?:(?<![\w)])-)?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


ANSWER_FORMATS: Registry[Callable[[str], str | None]] = Registry("grading.extraction")


@ANSWER_FORMATS.register("after_equals")
def after_equals(text: str) -> str | None:
    """Returns the text after the last equals sign."""
    _, mark, tail = text.rpartition("=")
    return tail if mark else None


@ANSWER_FORMATS.register("boxed")
def boxed(text: str) -> str | None:
    r"""Returns the content of the last `\boxed{…}` or `\fbox{…}`; None if its braces do not balance."""
    start = None
    for match in _BOX.finditer(text):
        start = match.end()
    return None if start is None else _in_braces(text, start)


@ANSWER_FORMATS.register("hash_marks")
def hash_marks(text: str) -> str | None:
    """Returns the rest of the line after the last `####`, the answer format of GSM8K."""
    _, mark, tail = text.rpartition("####")
    return tail.partition("\n")[0] if mark else None


@ANSWER_FORMATS.register("last_number")
def last_number(text: str) -> str | None:
    """Returns the last number; a minus between two numbers is not a sign."""
    found = _NUMBER.findall(text)
    return found[-1].rstrip(",").replace("-$", "-") if found else None


def extract(text: str, names: Sequence[str]) -> str | None:
    """Returns the final answer, whitespace normalized, from the first extractor that finds one."""
    searched = text[-MAX_SEARCHED_CHARACTERS:]
    for name in names:
        found = ANSWER_FORMATS[name](searched)
        if found is not None and len(found) <= MAX_ANSWER_CHARACTERS and found.strip():
            return " ".join(found.split())
    return None


def _in_braces(text: str, start: int) -> str | None:
    """Returns the text between the brace at `start` and its partner, ignoring escaped braces."""
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
