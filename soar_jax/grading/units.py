r"""The unit behind an answer's value: split off, and told in one way.

Known units have one name however they are written; of other words behind a value (`7\text{ apples}`) those that say
no more than that something was counted are no unit, the rest is told as it is.
"""

from __future__ import annotations

import re

_WAYS_OF_WRITING = {
    "nanometer": "nm nanometre",
    "micrometer": "micrometre",
    "millimeter": "mm millimetre",
    "centimeter": "cm centimetre",
    "decimeter": "dm decimetre",
    "meter": "m metre",
    "kilometer": "km kilometre",
    "inch": "in inche",
    "foot": "ft feet",
    "yard": "yd",
    "mile": "mi",
    "acre": "",
    "hectare": "ha",
    "milligram": "mg",
    "gram": "g",
    "kilogram": "kg",
    "pound": "lb",
    "ounce": "oz",
    "ton": "tonne",
    "milliliter": "ml millilitre",
    "liter": "l litre",
    "cup": "",
    "pint": "pt",
    "quart": "qt",
    "gallon": "gal",
    "millisecond": "ms",
    "second": "s sec",
    "minute": "min",
    "hour": "h hr",
    "day": "",
    "week": "",
    "month": "",
    "year": "yr",
    "dollar": "usd",
    "euro": "",
    "cent": "",
    "penny": "pennie",
    "nickel": "",
    "dime": "",
    "quarter": "",
    "percent": "%",
    "degree": "deg",
    "radian": "rad",
}
_KNOWN = {way: name for name, ways in _WAYS_OF_WRITING.items() for way in (name, *ways.split())}
_WITH_PLURAL = {way for way in _KNOWN if len(way) > 2} | {"yd", "mi", "kg", "lb", "oz", "hr", "yr", "ft", "cm", "km"}
_KNOWN |= {f"{way}s": _KNOWN[way] for way in _WITH_PLURAL}
_PER = {"mph": "mile/hour", "kph": "kilometer/hour", "mpg": "mile/gallon"}
_POWERS = {"square": "2", "sq": "2", "squared": "2", "²": "2", "cubic": "3", "cu": "3", "cubed": "3", "³": "3"}
# Behind a number, these add nothing to it.
_COUNTED = re.compile(
    r"(?:(?:square|sq\.?|cubic|cu\.?) )?units?(?: (?:squared|cubed)| ?\^ ?\{?[23]\}?|[²³])?|people|persons?|students?|"
    r"ways?|points?|pieces?|times|total|in total|each"
)

_NAMES = "|".join(sorted(map(re.escape, (*_KNOWN, *_PER)), key=len, reverse=True))
_POWER = r"(?:\s*\^\s*\{?[23]\}?|[²³]|\s+(?:squared|cubed))?"
_FACTOR = rf"(?:(?:square|sq\.?|cubic|cu\.?)\s+)?(?:{_NAMES})\.?{_POWER}"
_READ_FACTOR = re.compile(
    r"(?:(square|sq|cubic|cu)\.?\s+)?([a-z%]+)\.?\s*(?:\^\s*\{?([23])\}?|([²³])|(squared|cubed))?"
)

_TEXT = re.compile(
    r"\s*\\(?:text|textrm|mathrm|mbox|rm|operatorname)\s*\{([^{}]*(?:\^\{[23]\}[^{}]*)?)\}(\s*\^\s*\{?[23]\}?)?$"
)
_WORDS = re.compile(rf"\s+({_FACTOR}(?:\s*(?:/|\bper\b)\s*{_FACTOR})?|{_COUNTED.pattern})$", re.IGNORECASE)
_SIGN = re.compile(r"\s*(?:(\\?%)|(\^\{?\\circ\}?|\\degree|°))$")
_DOLLAR = re.compile(r"^(-?)\s*\\?\$\s*(?=[\d.])|(?<=\d)\s*\\\$$")
_VALUE = re.compile(r"(?:[\d})]|\\pi)$")  # what a unit may stand behind
_NUMBER = re.compile(r"[-+\d.,/\s]+|-?\\[dt]?frac\{\d+\}\{\d+\}")  # what a letter that is no variable may stand behind
_NO_UNIT = re.compile(
    r"(?![mgshl]$)[a-z]$|(?i:pi|(?:hundred|thousand|million|billion|trillion|dozen)s?|hal(?:f|ves)|thirds?|tenths?|"
    r"(?:four|fif|six|seven|eigh|nin|hundred|thousand|million)ths?)\b"
)
_NOT_ONLY_UNIT = re.compile(r"\d|^[./]|\b(?:or|and|to|is|not|base)\b", re.IGNORECASE)  # more of the answer


def split(text: str) -> tuple[str, str]:
    r"""An answer's value and its unit, empty where it has none.

    The parts of a list (`30^\circ, 150^\circ`) have their unit together.
    """
    parts = [_split(part.strip()) for part in text.split(",")]
    units = {unit for _, unit in parts}
    if len(parts) > 1 and len(units) == 1 and units != {""}:
        return ", ".join(value for value, _ in parts), units.pop()
    return _split(text)


def name(text: str) -> str:
    """A unit's one name, as in meter, centimeter^2, kilometer/hour; of an unknown one its words in small letters."""
    words = " ".join(text.lower().split()).rstrip(".")
    names = [_factor(factor) for factor in re.split(r"\s*/\s*|\s+per\s+", words)]
    if len(names) <= 2 and all(names):
        return "/".join(names)
    return "" if _COUNTED.fullmatch(words) else words


def _factor(text: str) -> str:
    match = _READ_FACTOR.fullmatch(text)
    if not match:
        return ""
    before, word, *after = match.groups()
    power = next((_POWERS.get(sign, sign) for sign in (before, *after) if sign), "")
    unit = _KNOWN.get(word) or _PER.get(word, "")
    return f"{unit}^{power}" if unit and power else unit


def _split(text: str) -> tuple[str, str]:
    if _DOLLAR.search(text):
        return _split(_DOLLAR.sub(r"\1", text).strip())[0], "dollar"
    if match := _SIGN.search(text):
        return _behind_a_value(text, match, "percent" if match[1] else "degree")
    match = _WORDS.search(text)
    if match and (len(match[1].partition("^")[0]) > 1 or _NUMBER.fullmatch(text[: match.start()])):
        return _behind_a_value(text, match, name(match[1]))
    match = _TEXT.search(text)
    if not match or _is_more_of_the_answer(match[1].strip()):
        return text, ""
    return _behind_a_value(text, match, name(match[1].strip() + (match[2] or "")))


def _behind_a_value(text: str, match: re.Match[str], unit: str) -> tuple[str, str]:
    value = text[: match.start()].strip()
    return (value, unit) if _VALUE.search(value) and re.search(r"\d|\\pi", value) else (text, "")


def _is_more_of_the_answer(words: str) -> bool:
    r"""Whether text behind a value is a factor, as in `2\text{ million}`, or holds values, as in `7\text{ or 8}`."""
    return bool(_NO_UNIT.match(words) or _NOT_ONLY_UNIT.search(re.sub(r"\^\{?[23]\}?", "", words)))
