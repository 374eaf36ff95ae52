r"""Bounds the work of a comparison: only values that are short, shallow and small are evaluated.

The size of a value is a bound on the bits of its numbers, where letters stand for numbers of three bits. Each power is
bounded, and so is the sum of all: a long polynomial is cheap, a tower of powers is not.
"""

from __future__ import annotations

import math
import re

MAX_CHARACTERS = 400
MAX_DEPTH = 12
MAX_DIGITS = 60  # in a row
MAX_BITS = 2.0**18  # of all numbers together
LETTER_BITS = 3.0

_ALLOWED = re.compile(r"[A-Za-z0-9\s+\-*/^_=<>(){}\[\]|,.:!'\\&]*")
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_KNOWN_COMMAND = re.compile(
    r"frac|sqrt|pi|theta|alpha|beta|gamma|delta|epsilon|zeta|eta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|phi|"
    r"chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|"
    r"sinh|cosh|tanh|log|ln|exp|cdot|div|pm|infty|begin|end|pmatrix|bmatrix|matrix|vmatrix|Bmatrix|array|max|min|gcd|"
    r"lfloor|rfloor|lceil|rceil|mathbb|binom|overline|ldots|mid|bmod|pmod|mod|vec|hat|det|[{}\\]"
)
_CLOSERS = {"{": "}", "(": ")", "[": "]", "\\{": "\\}"}
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d*)?|\.\d+|\S", re.DOTALL)


def is_bounded(text: str) -> bool:
    """Returns whether a value is short, shallow and small enough to be evaluated."""
    return (
        0 < len(text) <= MAX_CHARACTERS
        and _ALLOWED.fullmatch(text) is not None
        and all(_KNOWN_COMMAND.fullmatch(command) for command in _COMMAND.findall(text))
        and _is_shallow(text)
        and all(len(run) <= MAX_DIGITS for run in re.findall(r"\d+", text))
        and re.search(r"\d\s+\d", text) is None  # ambiguous: a product or one number
        and re.search(r"\.\d+\.", text) is None  # 1.000.000 is not a product
        and re.search(r"\\overline\{\d", text) is None  # digits of which no period was read
        and num_bits(text) <= MAX_BITS
    )


def num_bits(text: str) -> float:
    """Bounds the bits of the numbers in a value; infinite for a text with unbalanced brackets."""
    try:
        return _Sizes(_TOKEN.findall(text)).total("")
    except (IndexError, OverflowError):
        return math.inf


def _is_shallow(text: str) -> bool:
    """Returns whether brackets match and are not nested deeply."""
    depth = braces = deepest = 0
    for character in text.replace("\\{", "(").replace("\\}", ")"):
        depth += (character in "({[") - (character in ")}]")
        braces += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
        if braces < 0 or depth < 0:
            return False
    return depth == braces == 0 and deepest <= MAX_DEPTH


class _Sizes:
    """Adds up the bits of tokens from left to right."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.position = tokens, 0

    def total(self, closer: str) -> float:
        """Returns the bits up to a closing bracket."""
        total, last = 0.0, 0.0
        while self.position < len(self.tokens) and self.tokens[self.position] != closer:
            token = self.tokens[self.position]
            if token == "^":
                self.position += 1
                size = max(last, 1.0) * _value(self.item())
                total, last = total - last + size, size
                if self.tokens[self.position : self.position + 1] == ["^"]:
                    return math.inf  # a double exponent
            elif token == "!":
                self.position += 1
                last = _value(last) * max(last, 1.0)
                total += last
            else:
                last = self.item()
                total += last
        if closer and self.position == len(self.tokens):
            raise IndexError
        self.position += bool(closer)
        return total

    def item(self) -> float:
        """Returns the bits of a number, letter, group or command with its arguments."""
        token = self.tokens[self.position]
        self.position += 1
        if token in _CLOSERS:
            return self.total(_CLOSERS[token])
        if token[0].isdigit() or token[0] == ".":
            return math.log2(max(1, int(token.replace(".", "") or 0))) + 4 * token.count(".")
        if token == "\\binom":
            return _value(self.item()) + self.item()
        if token == "\\frac":
            return self.item() + self.item()
        return LETTER_BITS if token[0].isalpha() or token[0] == "\\" else 0.0


def _value(bits: float) -> float:
    """Bounds a number of this many bits."""
    return 2.0**bits if bits < 64 else math.inf
