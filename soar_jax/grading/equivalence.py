r"""Are two final answers the same? What text, exact numbers and values at a point can decide is decided here.

The rest is left to a computer algebra system in another process (`symbolic.py`), and only where `is_bounded` says
that an answer is short, shallow and small. Conventions: units may be missing on one side but must not differ where
both have one (`units.py`), a percent sign and degrees are units, thousands may be set apart by commas and lists have
a blank behind theirs, mixed numbers are sums, numbers in another base are equal only as text, words are compared
without case, what an answer is called (`x = 3`, `f(2) = 3`) is not compared.
"""

from __future__ import annotations

import re
from fractions import Fraction

from soar_jax.grading import units, values

MAX_NUMBER_DIGITS = 50  # of a number that is compared exactly
MAX_CHARACTERS = 300  # of an answer that is compared symbolically; the bounds below likewise
MAX_DEPTH = 10
MAX_DIGITS = 20  # in a row
MAX_POWER = 2000  # product of all whole-number exponents
MAX_FACTORIAL_DIGITS = 2
MAX_FACTORIALS = 3

_MATH_MODE = re.compile(r"(?<!\\)(?:\$|\\[()\[\]])")
_OTHER_WRITINGS = (
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\varnothing", "\\emptyset"),
    ("−", "-"),
    ("{,}", ","),
)
_WRAPPED_TEXT = re.compile(r"\\(?:text|textrm|textbf|mathrm|mathbf|mbox|operatorname|rm)\s*\{([^{}]*)\}")
# Within a number: no blank at all (`\!`), a thin one in the place of a comma or behind one, a blank before zeros.
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

_INTEGER = r"(?:\d+)"
_DECIMAL = re.compile(r"^([+-]?)(\d*)\.?(\d*)$")
_SLASH = re.compile(rf"^([+-]?)({_INTEGER})\s*/\s*({_INTEGER})$")
_FRACTION = re.compile(rf"^([+-]?)({_INTEGER})?\s*\\frac\{{\s*(-?{_INTEGER})\s*\}}\{{\s*(-?{_INTEGER})\s*\}}$")
_REPEATING = re.compile(r"^([+-]?)(\d*)\.(\d*)\\overline\{(\d+)\}$")
_MIXED = re.compile(rf"^([+-]?)({_INTEGER})\s+({_INTEGER})\s*/\s*({_INTEGER})$")
_IN_BASE = re.compile(r"^[0-9A-Za-z]+_\{?\d+\}?$")

_ALLOWED = re.compile(r"[A-Za-z0-9\s+\-*/^_=<>(){}\[\]|,.:!'\\&]*")
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_KNOWN_COMMAND = re.compile(
    r"frac|sqrt|pi|theta|alpha|beta|gamma|delta|lambda|mu|phi|omega|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|"
    r"ln|exp|cdot|times|div|pm|infty|cup|cap|in|le|leq|ge|geq|lt|gt|ne|neq|begin|end|pmatrix|bmatrix|matrix|vmatrix|"
    r"emptyset|max|min|lfloor|rfloor|lceil|rceil|geqslant|leqslant|mathbb|binom|overline|ldots|[{}\\]"
)
_INNER = r"(?:[^{}^]|\{[^{}^]*\})*"
_EXPONENT = re.compile(rf"\^\s*(?:\{{((?:[^{{}}^]|\{{{_INNER}\}})*)\}}|([^{{\s]))")  # none has a power in it
_FACTORIAL = re.compile(r"(\S?)\s*!")


def same(gold: str, answer: str) -> bool | None:
    """Whether two answers are the same; None where only algebra can tell."""
    (a, unit_a), (b, unit_b) = normalized(gold), normalized(answer)
    if unit_a and unit_b and unit_a != unit_b:
        return False
    if a == b or _without_blanks(gold) == _without_blanks(answer):  # 120,144 may be a list
        return bool(a)
    x, y = exact_number(a), exact_number(b)
    if x is not None and y is not None:
        return x == y
    if _IN_BASE.match(a) or _IN_BASE.match(b) or not (is_bounded(a) and is_bounded(b)):
        return False
    if not (_has_mathematics(a) and _has_mathematics(b)) or values.clearly_differ(a, b):
        return False
    return None


def normalized(text: str) -> tuple[str, str]:
    """An answer's value in one way of writing, and its unit's one name (empty where it has none)."""
    value = _MATH_MODE.sub("", text).strip().rstrip(".")
    value = _WITHIN_NUMBER.sub("", value.replace("^{\\circ}", "^\\circ"))
    value, unit = units.split(_without_name(" ".join(_SPACING.sub(" ", value).split())))
    value = _WRAPPED_TEXT.sub(r"\1", _ROW_GAP.sub(r"\1", value))
    for old, new in _OTHER_WRITINGS:
        value = value.replace(old, new)
    value = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", value)
    value = _HALF_SHORT_FRACTION.sub(r"\\frac{\1}{", value)
    value = _SHORT_ROOT.sub(r"\\sqrt{\1}", value)
    value = _CHOICE.sub(r"\1", value.strip())
    value = _without_thousands_marks(" ".join(value.split()))
    value = re.sub(r"_\{(\w)\}", r"_\1", value)
    value = re.sub(r"\s*([+*/=<>()\[\]{}^-])\s*", r"\1", value)
    value = re.sub(r"\s*,\s*", ", ", value)
    value = re.sub(r"(?<=\d) (?=i(?![A-Za-z]))", "", value)  # 2 i is 2i
    if re.fullmatch(r"[A-Za-z][A-Za-z .'-]+", value):
        value = value.lower()
    return value or text.strip(), unit


def exact_number(text: str) -> Fraction | None:
    """The exact value of an integer, decimal, fraction or mixed number; None for anything else, or too many digits."""
    if sum(character.isdigit() for character in text) > MAX_NUMBER_DIGITS or not text.isascii():
        return None
    for pattern, read in (
        (_DECIMAL, _decimal),
        (_SLASH, _slash),
        (_FRACTION, _fraction),
        (_MIXED, _mixed),
        (_REPEATING, _repeating),
    ):
        match = pattern.match(text)
        if match:
            return read(*match.groups())
    return None


def is_bounded(text: str) -> bool:
    """Whether an answer is short, shallow and small enough to be handed to a computer algebra system."""
    return (
        0 < len(text) <= MAX_CHARACTERS
        and _ALLOWED.fullmatch(text) is not None
        and all(_KNOWN_COMMAND.fullmatch(command) for command in _COMMAND.findall(text))
        and _depth(text) <= MAX_DEPTH
        and all(len(run) <= MAX_DIGITS for run in re.findall(r"\d+", text))
        and re.search(r"\d\s+\d", text) is None  # a product, or one number? nobody knows
        and re.search(r"\.\d+\.", text) is None  # 1.000.000 is no product
        and _powers_are_bounded(text)
        and _factorials_are_bounded(text)
    )


def _without_blanks(text: str) -> str:
    """A text without the blanks behind its commas."""
    return re.sub(r",\s+", ",", text.strip())


def _without_name(text: str) -> str:
    """`x = 3` as `3`, and `x = 1, x = 2`, a list for one thing, as `1, 2`; several things keep their names."""
    parts = text.split(",")
    names = [_NAME.match(part) for part in parts]
    if not names[0] or len({name[1] for name in names if name}) != 1:
        return text
    return ",".join(part[name.end() :] if name else part for part, name in zip(parts, names, strict=True))


def _without_thousands_marks(text: str) -> str:
    """1,000 as 1000, also in a list with blanks behind its commas."""
    parts = re.split(r", +", text)
    return ", ".join(part.replace(",", "") if _THOUSANDS.fullmatch(part) else part for part in parts)


def _decimal(sign: str, whole: str, part: str) -> Fraction | None:
    if not whole and not part:
        return None
    return _signed(sign, Fraction(int((whole + part) or "0"), 10 ** len(part)))


def _slash(sign: str, numerator: str, denominator: str) -> Fraction | None:
    return _signed(sign, Fraction(int(numerator), int(denominator))) if int(denominator) else None


def _fraction(sign: str, whole: str | None, numerator: str, denominator: str) -> Fraction | None:
    if not int(denominator):
        return None
    return _signed(sign, int(whole or 0) + Fraction(int(numerator), int(denominator)))


def _mixed(sign: str, whole: str, numerator: str, denominator: str) -> Fraction | None:
    return _fraction(sign, whole, numerator=numerator, denominator=denominator)


def _repeating(sign: str, whole: str, part: str, period: str) -> Fraction:
    tail = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(part))
    return _signed(sign, Fraction(int((whole + part) or "0"), 10 ** len(part)) + tail)


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


def _has_mathematics(text: str) -> bool:
    """Not a word: a digit, an operator, a command, or a variable by itself."""
    return re.search(r"[\d\\+*/^=<>|]", text) is not None or re.search(r"[A-Za-z]{2}", text) is None


def _depth(text: str) -> int:
    """Depth of the deepest bracket; more than any bound where braces do not match."""
    depth = deepest = braces = 0
    for character in text.replace("\\{", "(").replace("\\}", ")"):
        depth += (character in "({[") - (character in ")}]")
        braces += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
        if braces < 0:
            return MAX_DEPTH + 1
    return deepest if braces == 0 else MAX_DEPTH + 1


def _powers_are_bounded(text: str) -> bool:
    """No power of a power in braces, and a bounded product of all whole-number exponents."""
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
