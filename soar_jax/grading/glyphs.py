r"""Writes Unicode mathematics as LaTeX: `√3`, `x²`, `½`, `≤`.

Only symbols of mathematics are read. Digits of other scripts and invisible characters stay as they are, so such text
equals no number.
"""

from __future__ import annotations

import re

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-", "⁄": "/", "∕": "/", "÷": "\\div",
    "×": "\\cdot", "·": "\\cdot", "⋅": "\\cdot", "∙": "\\cdot", "•": "\\cdot", "∗": "*", "＊": "*", "＋": "+",
    "＝": "=", "±": "\\pm", "∓": "\\mp",
    "≤": "\\le", "⩽": "\\le", "≦": "\\le", "≥": "\\ge", "⩾": "\\ge", "≧": "\\ge", "≠": "\\ne", "＜": "<", "＞": ">",
    "≈": "\\approx", "≃": "\\approx", "≅": "\\approx", "≐": "\\approx", "≡": "\\equiv",
    "∞": "\\infty", "∪": "\\cup", "∩": "\\cap", "∈": "\\in", "∉": "\\notin", "∅": "\\emptyset", "⌀": "\\emptyset",
    "∖": "\\setminus", "∣": "\\mid", "∧": "\\text{ and }", "∨": "\\text{ or }",
    "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}",
    "⌊": "\\lfloor", "⌋": "\\rfloor", "⌈": "\\lceil", "⌉": "\\rceil", "⟨": "\\langle", "⟩": "\\rangle",
    "…": "\\ldots", "⋯": "\\ldots", "°": "^{\\circ}", "º": "^{\\circ}", "˚": "^{\\circ}", "′": "'", "″": "''",
    "’": "'", "‘": "'", "“": '"', "”": '"', "％": "%", "，": ",", "；": ";", "：": ":", "（": "(", "）": ")",
    "、": ",", "。": ".", "【": "[", "】": "]", "∠": "\\angle", "△": "\\triangle", "→": "\\to", "∑": "\\sum",
    "∏": "\\prod", "∫": "\\int", "∂": "\\partial", "ℓ": "l", "ϕ": "\\phi", "ϵ": "\\epsilon",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2002": " ", "\u2003": " ", "\u2061": "", "\u2062": "",
}  # fmt: skip
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK_NAMES.split(), strict=True))
_SYMBOLS |= {letter: f"\\{name}" for letter, name in _GREEK.items()} | {"µ": "\\mu", "𝜋": "\\pi", "𝜃": "\\theta"}
_FRACTIONS = {"½": "12", "⅓": "13", "⅔": "23", "¼": "14", "¾": "34", "⅕": "15", "⅖": "25", "⅗": "35", "⅘": "45"}
_FRACTIONS |= {"⅙": "16", "⅚": "56", "⅛": "18", "⅜": "38", "⅝": "58", "⅞": "78", "⅐": "17", "⅑": "19"}
_SYMBOLS |= {glyph: f"\\frac{{{parts[0]}}}{{{parts[1]}}}" for glyph, parts in _FRACTIONS.items()}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₘₖᵢⱼ", "0123456789+-=()nmkij", strict=True))

_SYMBOL = re.compile("|".join(map(re.escape, _SYMBOLS)))
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_LOWERED_RUN = re.compile(f"[{''.join(_LOWERED)}]+")
_RAISED_UNIT = re.compile(r"(?<=\d)\s*([kcdm]?m|ft|in|yd|mi)([²³])(?![A-Za-z])")
_ROOT = re.compile(r"([√∛∜])\s*(\d+(?:\.\d+)?|)")
_ROOT_DEGREES = {"√": "", "∛": "[3]", "∜": "[4]"}
_OVERLINE = re.compile("((?:\\d[\u0305\u0304])+)")


def to_latex(text: str) -> str:
    """Replaces each mathematical symbol by its LaTeX command."""
    if text.isascii():
        return text
    text = _OVERLINE.sub(lambda run: f"\\overline{{{run[1][::2]}}}", text)
    text = _RAISED_UNIT.sub(lambda unit: f"\\text{{ {unit[1]}}}^{{{_RAISED[unit[2]]}}}", text)
    text = _RAISED_RUN.sub(lambda run: f"^{{{''.join(_RAISED[sign] for sign in run[0])}}}", text)
    text = _LOWERED_RUN.sub(lambda run: f"_{{{''.join(_LOWERED[sign] for sign in run[0])}}}", text)
    text = _SYMBOL.sub(lambda symbol: _command(_SYMBOLS[symbol[0]]), text)
    return _ROOT.sub(_write_root, text)


def _command(latex: str) -> str:
    """Separates a command from a letter that follows."""
    return f"{latex} " if re.search(r"\\[A-Za-z]+$", latex) else latex


def _write_root(root: re.Match[str]) -> str:
    """Braces a number under the root; any other argument is one character, group or command, as in LaTeX."""
    command = f"\\sqrt{_ROOT_DEGREES[root[1]]}"
    return f"{command}{{{root[2]}}}" if root[2] else f"{command} "
