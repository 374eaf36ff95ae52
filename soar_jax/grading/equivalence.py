r"""Decides by text, exact numbers and values at a point whether two final answers are equal.

Other pairs go to a computer algebra system in a worker process (`symbolic.py`), but only if `is_bounded` finds both
short, shallow and small. Conventions:

- A unit may be missing on one side; two different units differ (`units.py`). Percent signs and degrees are units.
- Commas may separate thousands; a list has a blank after each comma.
- Mixed numbers are sums. Numbers in another base are equal only as text.
- Words are compared without case. Names such as `x = 3` or `f(2) = 3` are dropped.
"""

from __future__ import annotations

import re
from fractions import Fraction

from soar_jax.grading import units, values

MAX_NUMBER_DIGITS = 50  # in a number that is compared exactly
MAX_CHARACTERS = 300  # in an answer that is compared by algebra, as for the bounds below
MAX_DEPTH = 10
MAX_DIGITS = 20  # in a row
MAX_POWER = 2000  # product of all integer exponents
MAX_FACTORIAL_DIGITS = 2
MAX_FACTORIALS = 3

_MATH_MODE = re.compile(r"(?<!\\)(?:\$|\\[()\[\]])")
_SYNONYMS = {"\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\varnothing": "\\emptyset"}
_SYNONYMS |= {"−": "-", "{,}": ","}
_WRAPPED_TEXT = re.compile(r"\\(?:text|textrm|textbf|mathrm|mathbf|mbox|operatorname|rm)\s*\{([^{}]*)\}")
# Spacing within a number: negative (`\!`), thin in place of a comma or after one, a blank before zeros.
_WITHIN_NUMBER = re.compile(
    r"(?<=[\d,])\s*\\!\s*(?=[\d,])|(?<=\d)\\,(?=\d{3}(?!\d))|(?<=\d,)\s*\\[,;:]\s*(?=\d{3}(?!\d))"
    r"|(?<=\d,)(?:\s|\\ )+(?=0\d\d(?!\d))"
)
_SPACING = re.compile(
    r"(?<!\\)\\[,;:! ]|\\(?:quad|qquad|left|right|displaystyle|limits|big|Big|bigg|Bigg)(?![A-Za-z])|~"
)
_NAME = re.compile(
    r"\s*([A-Za-z](?:_(?:\w|\{\\?\w+\}))?(?:\((?:[a-z]|-?\d+)\))?|\\text\{[^{}]*\}"
    r"|(?:(?:m\s*)?\\angle\s*[A-Z]{1,3}|[A-Z]{2})(?=\s*=\s*[-\d\\]))\s*(?:=|\\in(?![A-Za-z]))\s*(?=\S)"
)
_ROW_GAP = re.compile(r"(\\\\)\s*\[[\d.]+\s*(?:pt|em|ex|mm|cm)\]")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)")
_HALF_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*\{")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d)(?!\d)")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_CHOICE = re.compile(r"^\(([A-Za-z])\)$")

_DECIMAL = re.compile(r"^([+-]?)(\d*)(?:\.(\d*)(?:\\overline\{(\d+)\})?)?$")
_FRACTION = re.compile(r"^([+-]?)(\d+)?\s*\\frac\{\s*(-?\d+)\s*\}\{\s*(-?\d+)\s*\}$")
_SLASH = re.compile(r"^([+-]?)(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)$")
_IN_BASE = re.compile(r"^[0-9A-Za-z]+_\{?\d+\}?$")

_ALLOWED = re.compile(r"[A-Za-z0-9\s+\-*/^_=<>(){}\[\]|,.:!'\\&]*")
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_KNOWN_COMMAND = re.compile(
    r"frac|sqrt|pi|theta|alpha|beta|gamma|delta|lambda|mu|phi|omega|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|"
    r"ln|exp|cdot|times|div|pm|infty|cup|cap|in|le|leq|ge|geq|lt|gt|ne|neq|begin|end|pmatrix|bmatrix|matrix|vmatrix|"
    r"emptyset|max|min|lfloor|rfloor|lceil|rceil|geqslant|leqslant|mathbb|binom|overline|ldots|[{}\\]"
)
_INNER = r"(?:[^{}^]|\{[^{}^]*\})*"
_EXPONENT = re.compile(rf"\^\s*(?:\{{((?:[^{{}}^]|\{{{_INNER}\}})*)\}}|([^{{\s]))")  # without a nested power
_FACTORIAL = re.compile(r"(\S?)\s*!")


def are_equal(gold: str, answer: str) -> bool | None:
    """Returns whether two answers are equal; None if only algebra can tell."""
    (a, unit_a), (b, unit_b) = normalize(gold), normalize(answer)
    if unit_a and unit_b and unit_a != unit_b:
        return False
    if a == b or _strip_list_blanks(gold) == _strip_list_blanks(answer):  # 120,144 may be a list
        return bool(a)
    x, y = exact_number(a), exact_number(b)
    if x is not None and y is not None:
        return x == y
    if _IN_BASE.match(a) or _IN_BASE.match(b) or not (is_bounded(a) and is_bounded(b)):
        return False
    if not (_is_expression(a) and _is_expression(b)) or values.provably_differ(a, b):
        return False
    return None


def is_readable(answer: str) -> bool | None:
    """Returns whether an answer is a number or a bounded expression; None if only a parser can tell the latter."""
    value, _ = normalize(answer)
    if exact_number(value) is not None:
        return True
    return None if is_bounded(value) else False


def normalize(text: str) -> tuple[str, str]:
    """Returns the canonical spelling of an answer's value, and of its unit (empty if it has none)."""
    value = _MATH_MODE.sub("", text).strip().rstrip(".")
    value = _WITHIN_NUMBER.sub("", value.replace("^{\\circ}", "^\\circ"))
    value, unit = units.split(_strip_name(" ".join(_SPACING.sub(" ", value).split())))
    value = _WRAPPED_TEXT.sub(r"\1", _ROW_GAP.sub(r"\1", value))
    for old, new in _SYNONYMS.items():
        value = value.replace(old, new)
    value = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", value)
    value = _HALF_SHORT_FRACTION.sub(r"\\frac{\1}{", value)
    value = _SHORT_ROOT.sub(r"\\sqrt{\1}", value)
    value = _CHOICE.sub(r"\1", value.strip())
    value = _strip_thousands_separators(" ".join(value.split()))
    value = re.sub(r"_\{(\w)\}", r"_\1", value)
    value = re.sub(r"\s*([+*/=<>()\[\]{}^-])\s*", r"\1", value)
    value = re.sub(r"\s*,\s*", ", ", value)
    value = re.sub(r"(?<=\d) (?=i(?![A-Za-z]))", "", value)  # 2 i is 2i
    if re.fullmatch(r"[A-Za-z][A-Za-z .'-]+", value):
        value = value.lower()
    return value or text.strip(), unit


def exact_number(text: str) -> Fraction | None:
    """Reads an integer, decimal, fraction or mixed number exactly; None for other text or too many digits."""
    if sum(character.isdigit() for character in text) > MAX_NUMBER_DIGITS or not text.isascii():
        return None
    if match := _DECIMAL.match(text):
        sign, whole, decimals, period = match.groups(default="")
        if not (whole or decimals or period):
            return None
        scale = 10 ** len(decimals)
        value = Fraction(int((whole + decimals) or "0"), scale)
        if period:
            value += Fraction(int(period), (10 ** len(period) - 1) * scale)
    elif match := _FRACTION.match(text) or _SLASH.match(text):
        sign, whole, numerator, denominator = match.groups(default="0")
        if not int(denominator):
            return None
        value = int(whole) + Fraction(int(numerator), int(denominator))
    else:
        return None
    return -value if sign == "-" else value


def is_bounded(text: str) -> bool:
    """Returns whether an answer is short, shallow and small enough for a computer algebra system."""
    return (
        0 < len(text) <= MAX_CHARACTERS
        and _ALLOWED.fullmatch(text) is not None
        and all(_KNOWN_COMMAND.fullmatch(command) for command in _COMMAND.findall(text))
        and _depth(text) <= MAX_DEPTH
        and all(len(run) <= MAX_DIGITS for run in re.findall(r"\d+", text))
        and re.search(r"\d\s+\d", text) is None  # ambiguous: a product or one number
        and re.search(r"\.\d+\.", text) is None  # 1.000.000 is not a product
        and _powers_are_bounded(text)
        and _factorials_are_bounded(text)
    )


def _strip_list_blanks(text: str) -> str:
    """Removes the blanks after commas."""
    return re.sub(r",\s+", ",", text.strip())


def _strip_name(text: str) -> str:
    """`x = 3` becomes `3`, and `x = 1, x = 2` becomes `1, 2`; different names are kept."""
    parts = text.split(",")
    names = [_NAME.match(part) for part in parts]
    if not names[0] or len({name[1] for name in names if name}) != 1:
        return text
    return ",".join(part[name.end() :] if name else part for part, name in zip(parts, names, strict=True))


def _strip_thousands_separators(text: str) -> str:
    """1,000 becomes 1000, also within a list."""
    parts = re.split(r", +", text)
    return ", ".join(part.replace(",", "") if _THOUSANDS.fullmatch(part) else part for part in parts)


def _is_expression(text: str) -> bool:
    """Returns whether the text has a digit, an operator or a command, or only one-letter variables: is not words."""
    return re.search(r"[\d\\+*/^=<>|]", text) is not None or re.search(r"[A-Za-z]{2}", text) is None


def _depth(text: str) -> int:
    """Returns the nesting depth of brackets; MAX_DEPTH + 1 if braces do not match."""
    depth = deepest = braces = 0
    for character in text.replace("\\{", "(").replace("\\}", ")"):
        depth += (character in "({[") - (character in ")}]")
        braces += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
        if braces < 0:
            return MAX_DEPTH + 1
    return deepest if braces == 0 else MAX_DEPTH + 1


def _powers_are_bounded(text: str) -> bool:
    """Returns whether no power is nested and the product of all integer exponents is at most MAX_POWER."""
    product = 1
    if text.count("^") != len(_EXPONENT.findall(text)):
        return False
    for braced, single in _EXPONENT.findall(text):
        exponent = (braced or single).strip()
        if "!" in exponent:
            return False
        for digits in re.findall(r"\d+", exponent):
            product *= max(1, int(digits))
            if product > MAX_POWER:
                return False
    return re.search(r"\^\s*\S\s*\^", text) is None


def _factorials_are_bounded(text: str) -> bool:
    found = _FACTORIAL.findall(text)
    if len(found) > MAX_FACTORIALS or "!!" in text.replace(" ", ""):
        return False
    if "\\binom" in text and re.search(r"\d{4}", text):
        return False
    numbers = [len(digits) for digits in re.findall(r"(\d+)\s*!", text)]
    return len(numbers) == len(found) and all(size <= MAX_FACTORIAL_DIGITS for size in numbers)
