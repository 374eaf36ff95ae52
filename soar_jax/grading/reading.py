r"""The second stage of a comparison: reads what kind of object an answer is.

An answer is a value, a list, a set, a tuple, an interval, a union of sets, or a chain of comparisons, whose parts are
answers again. Text is in its canonical spelling (`writing.py`). Conventions:

- A list may lose its order but no entry; a tuple keeps both. Entries are separated by commas, semicolons, "and", "or".
- A bound on one variable (`0<x\le1`) is an interval; so is set-builder notation for it.
- Names such as `x = 3` or `f(2) = 3` are kept beside the value.
- `\pm` stands for two values.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable

from soar_jax.grading import scalars, units
from soar_jax.grading.shapes import (
    INFINITY,
    MINUS_INFINITY,
    REALS,
    Chain,
    Collection,
    Interval,
    Kind,
    Named,
    Shape,
    Value,
)

MAX_CHARACTERS = 2000
MAX_DEPTH = 12  # of brackets in brackets; deeper text is one value
MAX_ENTRIES = 100  # of a list; a longer one is one value
MAX_SIGNS = 3  # of plus-minus signs

_OPEN, _CLOSE = ("(", "[", "{", "\\{", "\\langle"), (")", "]", "}", "\\}", "\\rangle")
_TOKEN = re.compile(r"\\(?:begin|end)\{[a-z]+\*?\}|\\text\{[^{}]*\}|\\[A-Za-z]+|\\.|.", re.DOTALL)
_TEXT = re.compile(r"(\\text\{[^{}]*\})")
_CONNECTIVE_IN_TEXT = re.compile(r"\\text\{,?\s*(and|or)\s*,?\s*\}")
_CONNECTIVE = re.compile(r"(?<![A-Za-z\\])(and|or)(?![A-Za-z])")
_COMPARISON = re.compile(r"=|<|>|\\le|\\ge|\\ne|\\approx|\\in|\\equiv")
_TURNED = {">": "<", "\\ge": "\\le"}
_SET_OPERATIONS = {"\\cup": Kind.UNION, "\\cap": Kind.INTERSECTION, "\\setminus": Kind.DIFFERENCE}
_LETTER = r"(?:\\[a-z]+ ?|[A-Za-z])(?:_\{[^{}]*\})?'*"
_VARIABLE = re.compile(rf"{_LETTER}(?:\({_LETTER}\))?")
_SIDE = r"(?:[A-Z]{1,3}|\\overline\{[A-Z]{2}\}|\|[A-Z]{1,2}\||[A-Z]_\{\w+\})"
_NAME = re.compile(
    rf"{_LETTER}(?:\((?:[a-z]|-?\d+|[a-z](?:, [a-z])+)\))?|\({_LETTER}(?:, {_LETTER})+\)|\\text\{{[^{{}}]*\}}"
    rf"|(?:m\s*)?\\angle\s*[A-Z]{{1,3}}|{_SIDE}:{_SIDE}|\\frac\{{{_SIDE}\}}\{{{_SIDE}\}}|{_SIDE}"
)
_LONG_RATIO = re.compile(r"[\w.]+(?::[\w.]+){2,}")
_PRODUCT = re.compile(r".*[\d})] [a-z]")
_PLAIN_LETTER_PAIR = re.compile(r"[A-Z]{2,3}")
_REAL_WORDS = re.compile(
    r"(?:\\text\{)?\s*(?:the set of )?all (?:the )?real(?: numbers|s)?\s*\}?|(?:\\text\{)?\s*(?:all )?reals\s*\}?"
    r"|(?:\\text\{)?\s*(?:the )?real numbers\s*\}?",
    re.IGNORECASE,
)
_REAL_WORDS_EXCEPT = re.compile(
    r"(?:\\text\{)?\s*(?:all )?real(?: numbers|s),? (?:except|other than|but)(?: for)?\s*\}?\s*([^A-Za-z]+)",
    re.IGNORECASE,
)
_UNION_OF_BOUNDS = re.compile(r"[^<>]*(?:[<>]|\\[lg]e(?![a-z]))[^<>]*(?:\\cup[^<>]*(?:[<>]|\\[lg]e(?![a-z]))[^<>]*)+")


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Shape:
    """Reads the shape of an answer in its canonical spelling; a long text is one value."""
    return _read(text, 0) if len(text) <= MAX_CHARACTERS else Value(text=text)


def _read(text: str, depth: int) -> Shape:
    text = text.strip()
    if depth > MAX_DEPTH:
        return Value(text=text)
    if excluded := _REAL_WORDS_EXCEPT.fullmatch(text):
        text = f"\\mathbb{{R}}\\setminus\\{{{excluded[1]}\\}}"
    if _REAL_WORDS.fullmatch(text) or text in ("\\mathbb{R}", "\\mathbb{ R }"):
        return REALS
    if text in ("\\{\\}", "\\emptyset"):
        return Collection(kind=Kind.SET, entries=())
    for reader in (_read_list, _read_chain, _read_set_operation, _read_brackets):
        shape = reader(text, depth + 1)
        if shape is not None:
            return shape
    return _read_value(text, depth)


def split(text: str, separators: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """Splits a text at separators that are outside of all brackets; returns the parts and the separators."""
    parts, found, depth, bars = [""], [], 0, 0
    for token in _TOKEN.findall(text):
        is_open, is_close = token in _OPEN or token.startswith("\\begin"), token in _CLOSE or token.startswith("\\end")
        bars += token == "|"
        depth += is_open - is_close
        if depth == 0 and not is_close and separators.fullmatch(token):
            found.append(token)
            parts.append("")
        else:
            parts[-1] += token
    return parts, found


def _read_list(text: str, depth: int) -> Shape | None:
    """Reads entries between commas, semicolons, "and" or "or", and values with a plus-minus sign."""
    text = _mark_connectives(text)
    for separators in (";", "[,\x00\x01]"):
        parts, found = split(text, re.compile(separators))
        if found:
            break
    else:
        return _read_plus_minus(text, depth)
    parts = [part.strip() for part in parts if part.strip()]
    if not 1 < len(parts) <= MAX_ENTRIES:
        return _read(parts[0], depth) if len(parts) == 1 and parts[0] != text else None
    read = [_read(part, depth) for part in parts]
    entries = tuple(map(_ordered, read)) if separators == ";" else _flatten(read)
    if "\x01" not in found and (exclusion := _join_exclusions(entries)):
        return exclusion
    if all(_is_set(entry) for entry in entries) and "," not in found:
        return _combine(entries, is_union="\x01" in found)
    is_ordered = any("\\ldots" in part for part in parts)
    return Collection(kind=Kind.TUPLE if is_ordered else Kind.LIST, entries=entries)


def _join_exclusions(entries: tuple[Shape, ...]) -> Shape | None:
    r"""Reads `x \ne 1, x \ne 2` and `x \ne 1, 2` as all numbers but these; None for other entries."""
    line, excluded = None, list[Shape]()
    for entry in entries:
        if isinstance(entry, Collection) and entry.kind is Kind.DIFFERENCE and line in (None, entry.entries[0]):
            line = entry.entries[0]
            excluded += entry.entries[1].entries if isinstance(entry.entries[1], Collection) else []
        elif isinstance(entry, Value) and line:
            excluded.append(entry)
        else:
            return None
    numbers = Collection(kind=Kind.SET, entries=tuple(excluded))
    return Collection(kind=Kind.DIFFERENCE, entries=(line, numbers)) if line else None


def _mark_connectives(text: str) -> str:
    """Replaces "and" and "or", with a comma before them, by one character each."""
    parts = _TEXT.split(text)
    for index, part in enumerate(parts):
        connective = _CONNECTIVE_IN_TEXT if index % 2 else _CONNECTIVE
        parts[index] = connective.sub(lambda word: "\x00" if word[1] == "and" else "\x01", part)
    text = "".join(parts)
    return re.sub(r"(?:[,;]\s*)([\x00\x01])", r"\1", text)


def _flatten(entries: Iterable[Shape]) -> tuple[Shape, ...]:
    r"""Puts the values of entries that are lists themselves, such as `\pm 1`, into one list."""
    flat: list[Shape] = []
    for entry in entries:
        body = entry.body if isinstance(entry, Named) else entry
        is_list = isinstance(body, Collection) and body.kind is Kind.LIST
        flat += body.entries if is_list else [entry]  # type: ignore[union-attr]
    return tuple(flat)


def _ordered(entry: Shape) -> Shape:
    """Makes a list between semicolons a tuple."""
    if isinstance(entry, Collection) and entry.kind is Kind.LIST:
        return dataclasses.replace(entry, kind=Kind.TUPLE)
    return entry


def _is_set(shape: Shape) -> bool:
    """Returns whether a shape is an inequality, an interval or a union, which "and" and "or" combine."""
    if isinstance(shape, Interval):
        return not shape.is_pair or bool(shape.variable)
    return isinstance(shape, Collection) and shape.kind in _SET_OPERATIONS.values()


def _combine(entries: tuple[Shape, ...], *, is_union: bool) -> Shape:
    """Combines sets; two half-lines of one variable with "and" between them are an interval."""
    if is_union:
        return Collection(kind=Kind.UNION, entries=entries)
    if len(entries) == 2:
        for first, second in (entries, entries[::-1]):
            if (
                isinstance(first, Interval)
                and isinstance(second, Interval)
                and first.variable == second.variable
                and (first.high, second.low) == (INFINITY, MINUS_INFINITY)
            ):
                brackets = first.brackets[0] + second.brackets[1]
                return Interval(low=first.low, high=second.high, brackets=brackets, variable=first.variable)
    return Collection(kind=Kind.INTERSECTION, entries=entries)


def _read_plus_minus(text: str, depth: int) -> Shape | None:
    r"""Writes out `\pm`: all combinations of signs, or two with opposite signs if there is a `\mp`."""
    signs = re.split(r"(\\pm|\\mp)(?![A-Za-z]) ?", text)
    count = len(signs) // 2
    if not 0 < count <= MAX_SIGNS or "\\{" in text or "\\ne" in text:  # each entry of a set has its own
        return None
    choices = itertools.product("+-", repeat=count) if "\\mp" not in signs else (("+",) * count, ("-",) * count)
    entries = []
    for choice in choices:
        written = signs[0]
        for sign, command, rest in zip(choice, signs[1::2], signs[2::2], strict=True):
            is_minus = (sign == "-") != (command == "\\mp")
            is_first = not written or written[-1] in "({[=,<> "
            written += ("-" if is_minus else "" if is_first else "+") + rest
        entries.append(_read(written, depth))
    return Collection(kind=Kind.LIST, entries=_flatten(dict.fromkeys(entries)))


def _read_chain(text: str, depth: int) -> Shape | None:
    """Reads comparisons: a name before a value, a bound on a variable, or a chain."""
    if _UNION_OF_BOUNDS.fullmatch(text):
        return _read_set_operation(text, depth)
    parts, signs = split(text, _COMPARISON)
    parts = [part.strip() for part in parts]
    if not signs or not all(parts[1:]):
        return None
    if not parts[0]:
        return _read("".join(parts[1:]), depth) if signs in (["\\approx"], ["="]) else None
    if signs[0] in ("=", "\\in", "\\approx") and _is_name(parts[0], parts[1]):
        rest = parts[1] + "".join(sign + part for sign, part in zip(signs[1:], parts[2:], strict=True))
        return Named(name=parts[0].replace(" ", ""), body=_read(rest, depth))
    if all(sign in _TURNED for sign in signs):
        parts, signs = parts[::-1], [_TURNED[sign] for sign in signs[::-1]]
    return _read_bounds(parts, signs, depth) or Chain(
        parts=tuple(_read(part, depth) for part in parts), signs=tuple(signs)
    )


def _is_name(text: str, value: str) -> bool:
    """Returns whether a text names a value; two capital letters are a length only if a number follows."""
    if _PLAIN_LETTER_PAIR.fullmatch(text):
        return re.match(r"[-\d\\(]", value) is not None
    return _NAME.fullmatch(text) is not None and not _is_constant(text)


def _read_bounds(parts: list[str], signs: list[str], depth: int) -> Shape | None:
    """Reads bounds on one variable as an interval."""
    if not set(signs) <= {"<", "\\le", "\\ne"} or len(parts) > 3:
        return None
    places = [index for index, part in enumerate(parts) if _VARIABLE.fullmatch(part) and not _is_constant(part)]
    if len(places) != 1 or (len(parts) == 3 and places != [1]):
        return None
    place, variable = places[0], parts[places[0]]
    if any(_contains(part, variable) for index, part in enumerate(parts) if index != place):
        return None
    if signs == ["\\ne"]:
        excluded = _flatten([_read(parts[1 - place], depth)])
        line = dataclasses.replace(REALS, variable=variable)
        return Collection(kind=Kind.DIFFERENCE, entries=(line, Collection(kind=Kind.SET, entries=excluded)))
    if "\\ne" in signs:
        return None
    low = _read(parts[place - 1], depth) if place else MINUS_INFINITY
    high = _read(parts[place + 1], depth) if place + 1 < len(parts) else INFINITY
    opener = "[" if place and signs[place - 1] == "\\le" else "("
    closer = "]" if place < len(signs) and signs[place] == "\\le" else ")"
    return Interval(low=low, high=high, brackets=opener + closer, variable=variable)


def _is_constant(text: str) -> bool:
    return text.strip() in ("\\pi", "\\infty", "e", "i")


def _contains(text: str, variable: str) -> bool:
    letters = re.findall(r"\\[A-Za-z]+|[A-Za-z]", text)
    return variable[0] in letters or variable in letters


def _read_set_operation(text: str, depth: int) -> Shape | None:
    """Reads unions, intersections and differences of sets."""
    if text.startswith("\\mathbb{R}-\\{"):
        text = text.replace("-", "\\setminus", 1)
    for command, kind in _SET_OPERATIONS.items():
        parts, found = split(text, re.compile(re.escape(command)))
        if found and all(part.strip() for part in parts):
            return Collection(kind=kind, entries=tuple(_read(part, depth) for part in parts))
    return None


def _read_brackets(text: str, depth: int) -> Shape | None:
    """Reads a text that is one pair of brackets: a set, an interval, a tuple, or a value in parentheses."""
    tokens = _TOKEN.findall(text)
    if len(tokens) < 3 or tokens[0] not in (*_OPEN, "]") or tokens[-1] not in (*_CLOSE, "["):
        return None
    opener, closer, inner = tokens[0], tokens[-1], "".join(tokens[1:-1]).strip()
    if not _is_one_pair(tokens):
        return None
    if opener in ("{", "\\{"):
        return _read_set(inner, depth) if opener == "\\{" else _read(inner, depth)
    parts, found = split(inner, re.compile("[,;]"))
    if not found:
        return _read(inner, depth) if (opener, closer) == ("(", ")") else None
    if ";" in found and "," in found:
        parts, found = split(inner, re.compile(";"))
    if not all(part.strip() for part in parts) or len(parts) > MAX_ENTRIES:
        return None
    brackets = ("(" if opener in "(]" else "[") + (")" if closer in ")[" else "]")
    entries = tuple(_read(part, depth) for part in parts)
    if len(entries) != 2 or opener == "\\langle":
        return Collection(kind=Kind.TUPLE, entries=entries) if opener in ("(", "\\langle", "[") else None
    is_pair = (opener, closer) == ("(", ")") and "\\infty" not in inner
    return Interval(low=entries[0], high=entries[1], brackets=brackets, is_pair=is_pair)


def _is_one_pair(tokens: list[str]) -> bool:
    """Returns whether the first bracket closes at the last token."""
    depth = 1
    for token in tokens[1:-1]:
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth == 0:
            return False
    return depth == 1


def _read_set(inner: str, depth: int) -> Shape:
    """Reads what is in braces: a condition on a variable, or entries."""
    parts, found = split(inner, re.compile(r"\\mid|\||:"))
    if len(parts) == 2 and found:
        return _read_condition(parts[0].strip(), parts[1].strip(), depth)
    shape = _read(inner, depth)
    is_list = isinstance(shape, Collection) and shape.kind in (Kind.LIST, Kind.TUPLE)
    is_entries = is_list and split(_mark_connectives(inner), re.compile("[,;\x00\x01]|\\\\pm"))[1]
    return Collection(kind=Kind.SET, entries=shape.entries if is_entries else (shape,))  # type: ignore[union-attr]


def _read_condition(variable: str, condition: str, depth: int) -> Shape:
    """Reads set-builder notation; the name of a bound variable does not matter."""
    variable = re.sub(r"\\in ?\\mathbb\{R\}$", "", variable)
    is_real = rf"{re.escape(variable)}\\in ?\\mathbb\{{R\}}"
    shape = _read(re.sub(rf",\s*{is_real}|{is_real},", "", condition), depth)
    return Collection(kind=Kind.SET, entries=(shape,)) if not _is_set(shape) else _unbound(shape)


def _unbound(shape: Shape) -> Shape:
    """Drops the name of the variable of a set."""
    if isinstance(shape, Interval):
        return dataclasses.replace(shape, variable="")
    if isinstance(shape, Collection):
        return dataclasses.replace(shape, entries=tuple(_unbound(entry) for entry in shape.entries))
    return shape


def _read_value(text: str, depth: int) -> Shape:
    """Reads a value and its unit."""
    value, unit = units.split(text)
    if value != text:
        inner = _read(value, depth + 1)
        if not isinstance(inner, Value):
            return inner
        value = inner.text
    if ratio := _LONG_RATIO.fullmatch(value):
        first, *rest = ratio[0].split(":")
        entries = tuple(Value(text=scalars.clean(f"\\frac{{{number}}}{{{first}}}")) for number in rest)
        return Collection(kind=Kind.TUPLE, entries=entries)
    product = scalars.clean(text) if _PRODUCT.fullmatch(text) else ""
    return Value(text=scalars.clean(value), unit=unit, product=product)
