r"""Braces the arguments of LaTeX commands: `\frac12` becomes `\frac{1}{2}`, and `x^10` becomes `x^{10}`.

An argument is a group in braces, a command with its own arguments, or a character, as in LaTeX. In departures from
LaTeX, exponents, indices and the argument of a root may be whole numbers or be in parentheses.
"""

from __future__ import annotations

import re

MAX_DEPTH = 20  # of nested arguments; deeper text stays as it is

_NUM_ARGUMENTS = {"\\frac": 2, "\\binom": 2, "\\sqrt": 1, "\\overline": 1, "\\mathbb": 1, "\\pmod": 1, "^": 1, "_": 1}
_WHOLE_NUMBERS = ("^", "_", "\\sqrt")  # take all digits of a number
_IN_PARENTHESES = ("^", "\\sqrt")
_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\d+(?:\.\d+)?|.", re.DOTALL)
_CLOSERS = {"{": "}", "(": ")", "[": "]"}
_SIGNS = ("+", "-", "\\pm", "\\mp")
_NO_ARGUMENT = ("}", ")", "]", "&", "\\\\", "")


class _UnreadableError(Exception):
    """An argument is missing, or the text is nested too deeply."""


def brace(text: str) -> str:
    """Returns the text with all arguments in braces, or unchanged if one is missing."""
    if not any(command in text for command in _NUM_ARGUMENTS):
        return text
    try:
        return _Reader(_TOKEN.findall(text), 0).read_all()
    except _UnreadableError:
        return text


class _Reader:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[str], depth: int) -> None:
        self.tokens, self.position, self.depth = tokens, 0, depth

    def read_all(self) -> str:
        """Returns the text, with arguments in braces."""
        pieces = []
        while self.position < len(self.tokens):
            pieces.append(self.piece())
        return "".join(pieces)

    def piece(self) -> str:
        """Takes a token and its arguments."""
        token = self.take()
        num_arguments = _NUM_ARGUMENTS.get(token, 0)
        degree = f"[{self.group()}]" if token == "\\sqrt" and self.peek() == "[" else ""
        return token + degree + "".join(self.argument(token) for _ in range(num_arguments))

    def argument(self, command: str) -> str:
        """Takes an argument and returns it in braces."""
        self.depth += 1
        following = self.peek()
        if following in _NO_ARGUMENT or self.depth > MAX_DEPTH:
            raise _UnreadableError
        if following == "{" or (following == "(" and command in _IN_PARENTHESES):
            content = self.group()
        else:
            sign = self.take() if command == "^" and following in _SIGNS else ""
            content = sign + (self.number(command) if self.peek()[:1].isdigit() else self.piece())
        self.depth -= 1
        return f"{{{content}}}"

    def number(self, command: str) -> str:
        r"""Takes a number; one digit of it where more may follow, as in `\frac12` and `\log_23`."""
        is_base = self.tokens[: self.position][-2:] == ["\\log", "_"]
        is_alone = self.position + 1 < len(self.tokens) and self.tokens[self.position + 1] in ("(", " ", "{")
        number = self.take()
        if len(number) == 1 or (command in _WHOLE_NUMBERS and (is_alone or not is_base)):
            return number
        self.position -= 1
        self.tokens[self.position] = number[1:]
        return number[0]

    def group(self) -> str:
        """Takes a group in brackets and returns its content, with arguments in braces."""
        opener = self.take()
        start, depth = self.position, 1
        while depth:
            token = self.take()
            depth += (token == opener) - (token == _CLOSERS[opener])
        return _Reader(self.tokens[start : self.position - 1], self.depth + 1).read_all().strip()

    def peek(self) -> str:
        """Skips blanks and returns the next token; empty at the end."""
        while self.position < len(self.tokens) and self.tokens[self.position].isspace():
            self.position += 1
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        """Takes the next token."""
        if self.position == len(self.tokens):
            raise _UnreadableError
        self.position += 1
        return self.tokens[self.position - 1]
