r"""The first stage of a comparison: gives equal answers that are only written differently one spelling in LaTeX.

Boxes, Markdown, fonts, sizes and spacing go; symbols of Unicode and plain text become commands; arguments get braces.
Words stay in `\text{…}`, as units and words such as "and" are read later (`reading.py`).
"""

from __future__ import annotations

import functools
import re

from soar_jax.grading import arguments, glyphs, plain_text

MAX_CHARACTERS = 2000  # longer text stays as it is
MAX_PASSES = 4  # until a spelling does not change any more

_BOX = re.compile(r"\\(?:boxed|fbox|framebox|ensuremath|underline)\s*(?=\{)")
_MARKDOWN = re.compile(r"(\*{1,3}|__?|`+|[\"'])([^*`\"]+)\1", re.DOTALL)
_TEXT_WITH_VALUES = re.compile(r"\\text\{([^{}]*(?:[\d,]|\b(?:and|or)\b)[^{}]*)\}")
_STRAY_BACKSLASH = re.compile(r"(?<!\\)\\(?=\d)")
_ABOUT = re.compile(
    r"^(?:\\text\{)?\s*(?:(?:the )?(?:final )?answer(?: is)?:?|approximately|approx\.?|about|roughly|around)"
    r"\s*\}?\s*(?=[-\d\\$])",
    re.IGNORECASE,
)
_END = re.compile(r"(?:(?<![.\\])\.|(?<!\\)\\{1,2}|[;,])\s*$")
_MATH_MODE = re.compile(r"(?<!\\)(?:\$|\\[()\[\]])")
_ROW_GAP = re.compile(r"(\\\\)\s*\[[\d.]+\s*(?:pt|em|ex|mm|cm)\]")
# Spacing within a number: negative (`\!`), thin in place of a comma or after one, a blank before zeros.
_WITHIN_NUMBER = re.compile(
    r"(?<=[\d,])\s*\\!\s*(?=[\d,])|(?<=\d)\\,(?=\d{3}(?!\d))|(?<=\d,)\s*\\[,;:]\s*(?=\d{3}(?!\d))"
    r"|(?<=\d,)(?:\s|\\ )+(?=0\d\d(?!\d))|(?<=\d)[ ~](?=\d{3}(?:[ ~]\d{3})*(?![\d./]))(?<!\d{4}[ ~])"
)
_SPACES = r"quad|qquad|enspace|thinspace|medspace|thickspace|negthinspace|nobreakspace|hfill|nolimits|limits|mathstrut"
_SPACING = re.compile(
    rf"(?<!\\)\\[,;:! >]|\\(?:{_SPACES})(?![A-Za-z])|\\(?:[hmv]space|[hv]?phantom|tag|label)\*?\s*\{{[^{{}}]*\}}|~"
)
_SIZES = (
    "left|right|middle|mleft|mright|displaystyle|textstyle|scriptstyle|scriptscriptstyle|tiny|scriptsize|footnotesize|"
    "small|normalsize|large|Large|LARGE|huge|Huge|big|Big|bigg|Bigg|bigl|bigr|Bigl|Bigr|biggl|biggr|Biggl|Biggr|"
    "boldmath|bf|it|sf|tt|sl|sc|cal|bfseries|itshape|sffamily|ttfamily|normalfont|centering"
)
_SIZE = re.compile(rf"\\(?:{_SIZES})(?![A-Za-z])\s*")
_EMPTY_DELIMITER = re.compile(r"\\(?:left|right)\s*\.")
_COLOR = re.compile(r"\\(?:color|textcolor|colorbox|pagecolor)\s*(?:\[\w*\])?\s*\{[^{}]*\}\s*")
_CASES = re.compile(
    r"(?:\\left)?(?:\\\{)?\s*\\begin\{(?:cases|aligned|align\*?|gathered)\}(.*?)\\end\{[a-z]+\*?\}(?:\\right\.)?",
    re.DOTALL,
)
_TEXT_FONTS = (
    "textnormal|textrm|textbf|textit|textsf|texttt|textsc|textup|textmd|textsl|text|mbox|hbox|emph|mathrm|mathsf|"
    "mathtt|mathup|operatorname\\*?|rm"
)
_TEXT_FONT = re.compile(rf"\\(?:{_TEXT_FONTS})\s*(?=\{{)")
_ROMAN_GROUP = re.compile(r"\{\s*\\(?:rm|text|mathrm)\s+([^{}\\]*)\}")
_ROMAN = re.compile(r"\\(?:rm|text|mathrm|mathsf)(?![A-Za-z{])\s*")
_MATH_FONTS = "mathbf|mathit|mathnormal|mathcal|mathfrak|mathscr|boldsymbol|bm|pmb|bold|mathord|mathbin|mathop|mathrel"
_MATH_FONT = re.compile(rf"\\(?:{_MATH_FONTS})(?![A-Za-z])\s*")
_MATH_IN_TEXT = re.compile(r"\\text\{\s*([-+]?[\d.,]+|\\?%|\^\{\\circ\}|)\s*\}")
_FUNCTION_IN_TEXT = re.compile(rf"\\text\{{\s*({plain_text.FUNCTIONS})\s*\}}")
_NESTED_TEXT = re.compile(r"\\text\{([^{}]*)\\text\{([^{}]*)\}([^{}]*)\}")

_SYNONYMS = {
    "frac": "dfrac tfrac cfrac nicefrac sfrac", "binom": "dbinom tbinom", "emptyset": "varnothing O",
    "le": "leq leqslant leqq", "ge": "geq geqslant geqq", "ne": "neq", "cdot": "times ast bullet", "mid": "",
    "ldots": "cdots dots dotsc dotsb dotso", "infty": "infin infinity", "setminus": "backslash smallsetminus",
    "approx": "simeq doteq approxeq sim thickapprox", "overline": "bar",
    "phi": "varphi", "epsilon": "varepsilon", "theta": "vartheta", "to": "rightarrow longrightarrow",
    "arctan": "arctg", "bmod": "mod", "tan": "tg", "cot": "ctg", "cup": "bigcup", "cap": "bigcap",
}  # fmt: skip
_NAMES = {f"\\{old}": f"\\{new}" for new, others in _SYNONYMS.items() for old in others.split()}
_NAMES |= {
    "\\lt": "<",
    "\\gt": ">",
    "\\lvert": "|",
    "\\rvert": "|",
    "\\vert": "|",
    "\\lbrace": "\\{",
    "\\rbrace": "\\}",
}
_NAMES |= {"\\lbrack": "[", "\\rbrack": "]", "\\lparen": "(", "\\rparen": ")", "\\colon": ":", "\\prime": "'"}
_NAMES |= {"\\land": "\\text{ and }", "\\wedge": "\\text{ and }", "\\lor": "\\text{ or }", "\\vee": "\\text{ or }"}
_NAMES |= {"\\pounds": "£", "\\euro": "€", "\\yen": "¥", "\\degree": "^{\\circ}", "\\mathdollar": "\\$"}
_NAMES |= {"\\Reals": "\\mathbb{R}", "\\R": "\\mathbb{R}", "\\reals": "\\mathbb{R}", "\\dollar": "\\$"}
_COMMAND = re.compile(r"\\[A-Za-z]+")
_CHOOSE = re.compile(r"\{\s*([^{}]*)\s*\\choose(?![A-Za-z])\s*([^{}]*)\s*\}")
_PUNCTUATION_IN_BRACES = re.compile(r"\{\s*([,:;.!=<>+*/-]|\\cdot|\\ldots)\s*\}")
_THOUSANDS = re.compile(
    r"(?:[A-Za-z]\s*=\s*)?[-+]?\s*(?:\\?\$|[£€¥₹])?\s*\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])[^,;)\]]*"
)
_CIRCLE = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))")
_PERCENT = re.compile(r"(?<!\\)%")
_DOTS = re.compile(r"(?<!\.)\.{3}(?!\.)")
_BLANK_BESIDE_SIGN = re.compile(r"\s*([+*/=<>()\[\]^_|-])\s*")
_BLANK_BESIDE_OPERATOR = re.compile(r"\s*(\\(?:le|ge|ne|in|cdot|cup|cap|pm|mp|approx)(?![A-Za-z]))\s*(?=([A-Za-z])?)")
_BLANK_AFTER_COMMAND = re.compile(r"(\\[A-Za-z]+)\s+(?![A-Za-z\s])")
_BLANK_IN_BRACES = re.compile(r"(?<!\\)(\{)\s+|\s+(?<!\\)(\})|(?<=\\\{)\s+|\s+(?=\\\})")
_TEXT = re.compile(r"(\\text\{[^{}]*\}(?:\^\{?[23]\}?)?)")


@functools.lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """Returns the canonical spelling of an answer in LaTeX; a long text stays as it is."""
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        return text
    for _ in range(MAX_PASSES):
        written = _write(text)
        if written in (text, "") or len(written) > MAX_CHARACTERS:
            break
        text = written
    return text


def _write(text: str) -> str:
    text = _unwrap(text)
    text = glyphs.to_latex(text)
    text = _strip_styles(text)
    text = _rename(text)
    text = plain_text.to_latex(text)
    text = arguments.brace(text)
    return _strip_blanks(_join_thousands(text))


def _unwrap(text: str) -> str:
    """Removes boxes, Markdown, math mode and stray punctuation around an answer."""
    text = _MATH_MODE.sub("", _ROW_GAP.sub(r"\1", text)).strip()
    while (box := _BOX.match(text)) and _matching_brace(text[box.end() :]) == len(text) - box.end() - 1:
        text = text[box.end() + 1 : -1].strip()
    text = _BOX.sub("", text)
    if whole := _MARKDOWN.fullmatch(_END.sub("", text)):
        text = whole[2]
    text = _STRAY_BACKSLASH.sub("", _ABOUT.sub("", _END.sub("", text.strip()), count=1)).strip()
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    if whole := _TEXT_WITH_VALUES.fullmatch(text):
        text = whole[1]
    while len(text) > 2 and text[0] == "{" and _matching_brace(text) == len(text) - 1:
        inner = text[1:-1].strip()
        text = f"\\{{{inner}\\}}" if _is_list(inner) else inner
    return text


def _matching_brace(text: str) -> int:
    """Returns the place of the brace that closes the first character."""
    depth = 0
    for index, character in enumerate(text):
        if character in "{}" and text[index - 1 : index] != "\\":
            depth += 1 if character == "{" else -1
        if depth == 0:
            return index
    return -1


def _is_list(text: str) -> bool:
    """Returns whether a text has a comma outside of brackets that separates no thousands."""
    depth = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        if character == "," and depth == 0:
            return not _THOUSANDS.fullmatch(text)
    return False


def _strip_styles(text: str) -> str:
    r"""Removes spacing, sizes, colours and fonts; words stay in `\text{…}`."""
    text = _CASES.sub(lambda rows: re.sub(r"\s*\\\\\s*", ", ", rows[1].replace("&", "").strip(" \\,")), text)
    text = _WITHIN_NUMBER.sub("", _PUNCTUATION_IN_BRACES.sub(r"\1", text))
    text = _EMPTY_DELIMITER.sub("", text)
    text = _COLOR.sub("", _SPACING.sub(" ", text))
    text = _ROMAN_GROUP.sub(r"\\text{\1}", text)
    text = _ROMAN.sub("", _SIZE.sub("", _TEXT_FONT.sub(r"\\text", text)))
    text = re.sub(r"\\mathbf\s*\{([RZNQC])\}", r"\\mathbb{\1}", text)
    text = _MATH_FONT.sub("", text)
    text = re.sub(r"\\text\{([^{}]*)\}\s*/\s*\\text\{([^{}]*)\}", r"\\text{\1/\2}", text)
    text = _NESTED_TEXT.sub(r"\\text{\1\2\3}", text)
    return _FUNCTION_IN_TEXT.sub(r"\\\1 ", _MATH_IN_TEXT.sub(r"\1", text))


def _rename(text: str) -> str:
    """Gives each command one name."""
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    text = re.sub(r"^([^{}]*)\\choose(?![A-Za-z])([^{}]*)$", r"\\binom{\1}{\2}", text)
    text = _COMMAND.sub(lambda command: _NAMES.get(command[0], command[0]), text)
    text = _DOTS.sub(r"\\ldots ", text)
    return _PERCENT.sub(r"\\%", _CIRCLE.sub(r"^{\\circ}", text))


def _join_thousands(text: str) -> str:
    """1,000 becomes 1000, also within a list that has a blank after each comma."""
    parts = re.split(r", +", text)
    return ", ".join(part.replace(",", "") if _THOUSANDS.fullmatch(part.strip()) else part for part in parts)


def _strip_blanks(text: str) -> str:
    """Removes blanks that mean nothing; those before a letter may separate a unit, and those between words stay."""
    parts = _TEXT.split(" ".join(text.split()))
    for index in range(0, len(parts), 2):
        part = _BLANK_BESIDE_SIGN.sub(r"\1", parts[index])
        part = _BLANK_BESIDE_OPERATOR.sub(lambda sign: sign[1] + " " * bool(sign[2]), part)
        part = _BLANK_IN_BRACES.sub(r"\1\2", part)
        part = _BLANK_AFTER_COMMAND.sub(r"\1", part)
        parts[index] = re.sub(r"\s*([,;:])\s*", r"\1 ", part).replace(": ", ":") if "," in part or ":" in part else part
    return " ".join("".join(parts).split())
