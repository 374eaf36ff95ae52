r"""Writes plain-text mathematics as LaTeX: `sqrt(2)/2`, `2*pi`, `x**2`, `1e-10`, `x <= 3`."""

from __future__ import annotations

import re

FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|csc|log|ln|exp"
_OTHER_FUNCTIONS = "sec|min|max|gcd"  # or units
_NAMES = f"{FUNCTIONS}|sqrt|frac|binom|pi|theta|alpha|beta|gamma|lambda|omega|infty"
_TEXT = re.compile(r"(\\text\{[^{}]*\})")  # is left alone
_SIGNS = {
    "<=>": "=", "=<": "<=", "=>": ">=", "<=": "\\le ", ">=": "\\ge ", "!=": "\\ne ", "<>": "\\ne ",
    "\\not=": "\\ne ", "\\not =": "\\ne ", "&lt;": "<", "&gt;": ">", "==": "=", "~=": "\\approx ",
    "+/-": "\\pm ", "**": "^", "*": "\\cdot ",
}  # replaced in this order  # fmt: skip
_REPLACEMENTS = [
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<![A-Za-z\\])sqrt\s*(?=\d)"), r"\\sqrt "),
    (re.compile(rf"(?<![A-Za-z\\])({_NAMES})(?=\s*[\d(){{}}\[\]+\-*/^,.<>=_]|\s*$|\s+[A-Za-z](?![A-Za-z]))"), r"\\\1"),
    (re.compile(rf"(?<![A-Za-z\\])({_OTHER_FUNCTIONS})(?=\s*[\^(]| [A-Za-z](?![A-Za-z]))"), r"\\\1"),
    (re.compile(r"(?<![A-Za-z\\])cbrt\s*(?=\()"), r"\\sqrt[3]"),
    (re.compile(r"(?<![A-Za-z\\])abs\(([^()]*)\)"), r"|\1|"),
    # Scientific notation; a base may follow digits and letters, as in 2E5_{16}.
    (re.compile(r"(?<![\w.])(\d+(?:\.\d*)?|\.\d+)[eE]\s?([+-]?\d+)(?![\w.])"), r"\1\\cdot 10^{\2}"),
    (re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)"), r"\\cdot "),
    (re.compile(r"(?<=[\])}])\s*[uU]\s*(?=[\[({\\])"), r"\\cup "),
    (re.compile(r"\(\s*(?:\\bmod|mod)\s*([^()]*)\)"), r"\\pmod{\1}"),
    (re.compile(r"(?<=[A-Za-z]) in (?=[\[({\\])"), r"\\in "),
]


def to_latex(text: str) -> str:
    r"""Replaces plain-text names, comparison signs and notations outside of `\text{…}` by LaTeX."""
    parts = _TEXT.split(text)
    return "".join(part if index % 2 else _write(part) for index, part in enumerate(parts))


def _write(text: str) -> str:
    for old, new in _SIGNS.items():
        text = text.replace(old, new)
    for pattern, new in _REPLACEMENTS:
        text = pattern.sub(new, text)
    return text
