r"""Spells the values that an answer is made of: numbers, times, angles, words and expressions, without units."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_NUMBER_DIGITS = 50  # in a number that is compared exactly

_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z .'-]*")
_PLAIN_WORDS = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}|[A-Z][a-z]+|(?=.*[A-Za-z]{2})[A-Za-z]+(?:[ -][A-Za-z']+)+")
_CHOICE = re.compile(r"\(([A-Za-z])\)")
_BLANK = re.compile(r"(?<![A-Za-z\d])\s+|\s+(?![A-Za-z\d])|(?<=\d)\s+(?=[A-Za-z])|(?<=[A-Za-z])\s+(?=\d)")
_BLANK_AFTER_LETTER = re.compile(r"(?<![A-Za-z\\])([A-Za-z])\s+(?=[A-Za-z](?![A-Za-z]))")
_CLOCK = re.compile(r"0?(1?\d|2[0-4]):([0-5]\d)")
_RATIO = re.compile(r"([\w.\\{}^]+):([\w.\\{}^]+)")
_SEXAGESIMAL = re.compile(r"(-?)(\d+)\^\{\\circ\}\s*(?:(\d+(?:\.\d+)?)'(?!'))?\s*(?:(\d+(?:\.\d+)?)'')?")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|(?:\\[a-z]+|[A-Za-z]))\s*\^\{\\circ\}")
_BASE = re.compile(r"\(?([0-9A-Za-z]+)\)?_\{(\d+|[a-z]+)\}")
_BASE_NAMES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_BASE_NAMES |= {"ten": "10", "twelve": "12", "sixteen": "16"}
_DOTTED = re.compile(r"(\d*\.\d*)\\dot\{?(\d)\}?(?:(\d*)\\dot\{?(\d)\}?)?")
_PERIOD_IN_PARENTHESES = re.compile(r"(\d*\.\d*)\((\d+)\)")
_ENDLESS = re.compile(r"(\d*\.\d*?)(\d{1,6}?)\2{2,}\\ldots|(\d*\.\d*?)(\d{2,6}?)\4\\ldots")

_WITHIN = re.compile(r"(?<![\d.])\d*\.\d*\\overline\{\d{1,20}\}(?![\d.])")  # an expression
_DECIMAL = re.compile(r"([+-]?)(\d*)(?:\.(\d*)(?:\\overline\{(\d+)\})?)?")
_FRACTION = re.compile(r"([+-]?)(\d+)?\s*\\frac\{\s*(-?\d+)\s*\}\{\s*(-?\d+)\s*\}")
_SLASH = re.compile(r"([+-]?)(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)")
_POWER_OF_TEN = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)\\cdot10\^\{([+-]?\d{1,2})\}")


def clean(text: str) -> str:
    r"""Returns the canonical spelling of a value; words become `\text{…}` in lower case."""
    plain = _TEXT.sub(r"\1", text).strip()
    plain = choice[1] if (choice := _CHOICE.fullmatch(plain)) else plain
    if _PLAIN_WORDS.fullmatch(plain) or (plain != text.strip() and _WORDS.fullmatch(plain) and len(plain) > 1):
        words = " ".join(plain.lower().replace(".", "").split())
        return f"\\text{{{words}}}"
    value = _BLANK.sub("", _BLANK_AFTER_LETTER.sub(r"\1", " ".join(plain.split())))
    value = re.sub(r"(?<=\d)\s+(?=\\frac)", "", value)
    value = _spell_periods(_spell_angles(value))
    if clock := _CLOCK.fullmatch(value):
        return f"{int(clock[1])}:{clock[2]}"
    if ratio := _RATIO.fullmatch(value):
        return f"\\frac{{{ratio[1]}}}{{{ratio[2]}}}"
    if base := _BASE.fullmatch(value):
        return f"{base[1]}_{{{_BASE_NAMES.get(base[2], base[2])}}}" if base[1][0].isdigit() else value
    return value


def is_words(text: str) -> bool:
    """Returns whether a value is words."""
    return text.startswith("\\text{")


def unwrapped(text: str) -> str:
    """Returns words, or a value, without its wrapper and in lower case."""
    return _TEXT.sub(r"\1", text).lower()


def is_in_base(text: str) -> bool:
    """Returns whether a value is a number in another base, which equals no other spelling."""
    return re.fullmatch(r"\d[0-9A-Za-z]*_\{\d+\}", text) is not None


def is_clock_time(text: str) -> bool:
    """Returns whether a value is a time of day."""
    return _CLOCK.fullmatch(text) is not None


def exact_number(text: str) -> Fraction | None:
    """Reads an integer, decimal, fraction or mixed number exactly; None for other text or too many digits."""
    if sum(character.isdigit() for character in text) > MAX_NUMBER_DIGITS or not text.isascii():
        return None
    if match := _DECIMAL.fullmatch(text):
        sign, whole, decimals, period = match.groups(default="")
        if not (whole or decimals or period):
            return None
        scale = 10 ** len(decimals)
        value = Fraction(int((whole + decimals) or "0"), scale)
        if period:
            value += Fraction(int(period), (10 ** len(period) - 1) * scale)
    elif match := _FRACTION.fullmatch(text) or _SLASH.fullmatch(text):
        sign, whole, numerator, denominator = match.groups(default="0")
        if not int(denominator):
            return None
        value = int(whole) + Fraction(int(numerator), int(denominator))
    elif match := _POWER_OF_TEN.fullmatch(text):
        sign, digits, exponent = match.groups()
        value = Fraction(digits) * Fraction(10) ** int(exponent)
    else:
        return None
    return -value if sign == "-" else value


def _spell_angles(value: str) -> str:
    """Writes degrees, minutes and seconds as degrees, and degrees in a function as radians; drops other signs."""
    if "\\circ" not in value:
        return value
    if angle := _SEXAGESIMAL.fullmatch(value):
        sign, *sizes = angle.groups(default="0")
        degrees = sum(Fraction(size) / 60**power for power, size in enumerate(sizes))
        return ("-" if sign == "-" else "") + _spell_fraction(degrees)
    if _TRIGONOMETRY.search(value):
        return _DEGREES.sub(r"(\\frac{\1\\pi}{180})", value)
    return value.replace("^{\\circ}", "")


def _spell_fraction(number: Fraction) -> str:
    return str(number.numerator) if number.denominator == 1 else f"\\frac{{{number.numerator}}}{{{number.denominator}}}"


def _spell_periods(value: str) -> str:
    r"""Writes the period of a repeating decimal under `\overline`."""
    if "." not in value:
        return value
    if dotted := _DOTTED.fullmatch(value):
        return f"{dotted[1]}\\overline{{{''.join(filter(None, dotted.groups()[1:]))}}}"
    if period := _PERIOD_IN_PARENTHESES.fullmatch(value):
        return f"{period[1]}\\overline{{{period[2]}}}"
    if endless := _ENDLESS.fullmatch(value):
        start, period_digits = (endless[1], endless[2]) if endless[2] else (endless[3], endless[4])
        return f"{start}\\overline{{{period_digits}}}"
    if _DECIMAL.fullmatch(value):
        return value
    return _WITHIN.sub(lambda number: _spell_fraction(exact_number(number[0]) or Fraction(0)), value)
