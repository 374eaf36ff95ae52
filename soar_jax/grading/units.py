r"""Splits the unit off an answer and gives it one name.

Known units have one name for all spellings. Other words after a value (`7\text{ apples}`) are a unit of their own,
except words that only say that something is counted.
"""

from __future__ import annotations

import re

# Name of each unit: its other spellings.
_SPELLINGS = {
    "nanometer": "nm nanometre", "micrometer": "micrometre", "millimeter": "mm millimetre",
    "centimeter": "cm centimetre", "decimeter": "dm decimetre", "meter": "m metre", "kilometer": "km kilometre",
    "inch": "in inche", "foot": "ft feet", "yard": "yd", "mile": "mi",
    "acre": "", "hectare": "ha",
    "milligram": "mg", "gram": "g", "kilogram": "kg", "pound": "lb", "ounce": "oz", "ton": "tonne",
    "milliliter": "ml millilitre", "liter": "l litre", "cup": "", "pint": "pt", "quart": "qt", "gallon": "gal",
    "millisecond": "ms", "second": "s sec", "minute": "min", "hour": "h hr", "day": "", "week": "", "month": "",
    "year": "yr", "joule": "", "newton": "", "watt": "", "volt": "", "hertz": "hz", "kelvin": "", "pascal": "",
    "mole": "", "celsius": "", "fahrenheit": "", "knot": "",
    "dollar": "usd", "euro": "eur", "yuan": "rmb", "yen": "", "rupee": "rs", "cent": "",
    "penny": "pennie", "nickel": "", "dime": "", "quarter": "",
    "percent": "% pct percentage", "degree": "deg", "radian": "rad",
}  # fmt: skip
_UNITS = {spelling: name for name, others in _SPELLINGS.items() for spelling in (name, *others.split())}
_PLURALS = {unit for unit in _UNITS if len(unit) > 2} | {"yd", "mi", "kg", "lb", "oz", "hr", "yr", "ft", "cm", "km"}
_UNITS |= {f"{spelling}s": _UNITS[spelling] for spelling in _PLURALS}
_RATIOS = {"mph": "mile/hour", "kph": "kilometer/hour", "kmh": "kilometer/hour", "mpg": "mile/gallon"}
_POWERS = {"square": "2", "sq": "2", "squared": "2", "²": "2", "cubic": "3", "cu": "3", "cubed": "3", "³": "3"}
# Words after a number that are not a unit.
_COUNTED = re.compile(
    r"(?:(?:square|sq\.?|cubic|cu\.?) )?units?(?: (?:squared|cubed)| ?\^ ?\{?[23]\}?|[²³])?|people|persons?|students?|"
    r"ways?|points?|pieces?|times|total|in total|each"
)

_NAMES = "|".join(sorted(map(re.escape, (*_UNITS, *_RATIOS)), key=len, reverse=True))
_LONG_NAMES = "|".join(sorted((unit for unit in _UNITS if len(unit) > 3 and unit.isalpha()), key=len, reverse=True))
_POWER = r"(?:\s*\^\s*\{?[23]\}?|[²³]|\s+(?:squared|cubed))?"
_FACTOR = rf"(?:(?:square|sq\.?|cubic|cu\.?)\s+)?(?:{_NAMES})\.?{_POWER}"
_FACTOR_PARTS = re.compile(
    r"(?:(square|sq|cubic|cu)\.?\s+)?([a-z%]+)\.?\s*(?:\^\s*\{?([23])\}?|([²³])|(squared|cubed))?"
)

_TEXT = re.compile(r"\s*\\text\{([^{}]*(?:\^\{[23]\}[^{}]*)?)\}(\s*\^\s*\{?[23]\}?)?$")
_WORDS = re.compile(rf"\s+({_FACTOR}(?:\s*(?:/|\bper\b)\s*{_FACTOR})?|{_COUNTED.pattern})$", re.IGNORECASE)
_SIGN = re.compile(r"\s*(?:(\\%)|(\^\{\\circ\}))$")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_HALF_OF_DAY = re.compile(
    r"(?:(?<=:\d\d)\s*|(?<=\d)(?:\s+|\s*\\text\{\s*))(?:\\text\{)?\s*([ap])\.?\s?m\.?\s*\}?$", re.IGNORECASE
)
_CURRENCIES = {
    "\\$": "dollar", "us\\$": "dollar", "usd ": "dollar", "£": "pound", "gbp ": "pound", "€": "euro", "eur ": "euro",
    "¥": "yen", "₹": "rupee", "rs ": "rupee", "rs. ": "rupee",
}  # fmt: skip
_CURRENCY = "|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True)))
_PREFIXED = re.compile(rf"(-?)\s*(?:\\text\{{)?\s*({_CURRENCY})\s*\}}?\s*(-?[\d.].*)", re.IGNORECASE | re.DOTALL)
_SUFFIXED = re.compile(r"(.*\d)\s*(?:\\text\{)?\s*([£€¥₹]|\\\$)\s*\}?", re.DOTALL)
_ORDINAL = re.compile(
    r"(\d*(?<!1)(?:1st|2nd|3rd)|\d*(?:1\d|[04-9])th|\d+\s*\^?\{?\\text\{\s*(?:st|nd|rd|th)\s*\}\}?|\d+\^\{(?:st|nd|rd|th)\})"
)
# Units that may follow a number without a blank, since they are no product of letters.
_GLUED = re.compile(
    rf"([-+]?[\d.,]+(?:\\cdot10\^\{{-?\d+\}})?)((?:[kcm]m|kg|mph|kph|km/hr?|m/s|{_LONG_NAMES})\.?(?:\^\{{[23]\}})?)",
    re.IGNORECASE,
)
_UNKNOWN_WORDS = re.compile(r"([-+]?[\d.,]+|-?\\frac\{\d+\}\{\d+\})\s+([A-Za-z]{3,}(?:\s+[A-Za-z]+)*)")
_VALUE = re.compile(r"(?:[\d})]|\\pi)$")  # a unit may follow
_NUMBER = re.compile(r"[-+\d.,/\s]+|-?\\[dt]?frac\{\d+\}\{\d+\}")  # a letter after it is a unit, no variable
_NO_UNIT = re.compile(
    r"(?![mgshl]$)[a-z]$|(?i:pi|(?:hundred|thousand|million|billion|trillion|dozen)s?|hal(?:f|ves)|thirds?|tenths?|"
    r"(?:four|fif|six|seven|eigh|nin|hundred|thousand|million)ths?)\b"
)
_NOT_UNIT_ALONE = re.compile(
    r"\d|^[./]|\b(?:or|and|to|is|not|base|than|plus|minus|over|divided|mod|choose)\b", re.IGNORECASE
)


def split(text: str) -> tuple[str, str]:
    r"""Returns an answer's value and its unit, empty if it has none; a list (`30^\circ, 150^\circ`) has one unit."""
    parts = [_split(part.strip()) for part in text.split(",")]
    units = {unit for _, unit in parts}
    if len(parts) > 1 and len(units) == 1 and units != {""}:
        return ", ".join(value for value, _ in parts), units.pop()
    return _split(text)


def name(text: str) -> str:
    """Returns the name of a unit, e.g. meter, centimeter^2, kilometer/hour; lower-case words for an unknown one."""
    words = " ".join(text.lower().split()).rstrip(".")
    names = [_factor(factor) for factor in re.split(r"\s*/\s*|\s+per\s+", words)]
    if len(names) <= 2 and all(names):
        return "/".join(names)
    return "" if _COUNTED.fullmatch(words) else words


def _factor(text: str) -> str:
    match = _FACTOR_PARTS.fullmatch(text)
    if not match:
        return ""
    before, word, *after = match.groups()
    power = next((_POWERS.get(sign, sign) for sign in (before, *after) if sign), "")
    unit = _UNITS.get(word) or _RATIOS.get(word, "")
    return f"{unit}^{power}" if unit and power else unit


def _split(text: str) -> tuple[str, str]:
    if match := _PREFIXED.fullmatch(text):
        return _split(match[1] + match[3])[0], _CURRENCIES[match[2].lower()]
    if match := _SUFFIXED.fullmatch(text):
        return match[1], _CURRENCIES[match[2]]
    if _ORDINAL.fullmatch(text):
        return re.match(r"\d+", text)[0], ""  # type: ignore[index]
    if match := _GLUED.fullmatch(text):
        return match[1], name(match[2])
    if match := _HALF_OF_DAY.search(text):
        return _after_value(text, match, f"{match[1].lower()}.m.")
    if (match := _SIGN.search(text)) and not (match[2] and _TRIGONOMETRY.search(text)):
        return _after_value(text, match, "percent" if match[1] else "degree")
    match = _WORDS.search(text)
    if match and (len(match[1].partition("^")[0]) > 1 or _NUMBER.fullmatch(text[: match.start()])):
        return _after_value(text, match, name(match[1]))
    if (match := _UNKNOWN_WORDS.fullmatch(text)) and not _is_part_of_answer(match[2]):
        return match[1], name(match[2])
    match = _TEXT.search(text)
    if not match or _is_part_of_answer(match[1].strip()):
        return text, ""
    return _after_value(text, match, name(match[1].strip() + (match[2] or "")))


def _after_value(text: str, match: re.Match[str], unit: str) -> tuple[str, str]:
    value = text[: match.start()].strip()
    return (value, unit) if _VALUE.search(value) and re.search(r"\d|\\pi", value) else (text, "")


def _is_part_of_answer(words: str) -> bool:
    r"""Returns whether text after a value is a factor (`2\text{ million}`) or contains values (`7\text{ or 8}`)."""
    return bool(_NO_UNIT.match(words) or _NOT_UNIT_ALONE.search(re.sub(r"\^\{?[23]\}?", "", words)))
