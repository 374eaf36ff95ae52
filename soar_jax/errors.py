"""Errors that end a program with one line, and the exit codes of all programs."""

from __future__ import annotations

from collections.abc import Sequence

EXIT_FAILED = 1  # an unforeseen error, with its traceback; or a study in which a run failed
EXIT_BAD_INPUT = 2  # a SettingsError, or a file that cannot be read or written
EXIT_NOT_FINITE = 3  # a loss or gradient was NaN or infinite
EXIT_LOST_PROCESS = 4  # a process of several has ended, failed or cannot be reached
EXIT_INTERRUPTED = 75  # SIGTERM or Ctrl-C: state saved, the same command resumes (EX_TEMPFAIL)
EXIT_STOPPED = 130  # Ctrl-C where there is nothing to save

_MAX_REASON_CHARACTERS = 200


class SettingsError(ValueError):
    """Something the user gave is wrong; the message says what, and what to do."""


class NotFiniteError(RuntimeError):
    """A loss or gradient was NaN or infinite."""


class DisagreementError(RuntimeError):
    """Raised when processes disagree on a value that must be identical."""


class InterruptedRunError(Exception):
    """A stop signal ended the run; the last completed outer step is saved."""


def require(condition: bool, message: str) -> None:
    """Raises `SettingsError(message)` unless `condition` holds."""
    if not condition:
        raise SettingsError(message)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises `SettingsError` unless `value` is one of `choices`."""
    require(value in choices, f"{name} is {value!r}; choose one of {', '.join(choices)}")


def reason_of(error: BaseException) -> str:
    """Names an error of a user's or a library's code in one line of bounded length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON_CHARACTERS]
