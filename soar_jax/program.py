"""What all command-line programs share: flags, one-line errors, exit codes."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
from absl import app, flags, logging

from soar_jax import settings
from soar_jax.settings import SettingsError


def frozen_config(flag: Any, sections: Sequence[str]) -> ml_collections.FrozenConfigDict:
    """The config of a `--config` flag, not to be changed; `sections` are the keys that the program needs.

    Raises:
      SettingsError: the flag is missing, its file cannot be loaded, or is another program's.
    """
    settings.require(flag.value is not None, "--config is missing; try --config=configs/soar_math.py")
    try:
        config = ml_collections.FrozenConfigDict(flag.value)
    except OSError as error:  # the flag keeps a failed load to itself until the config is used
        raise SettingsError(f"cannot load --config: {' '.join(str(error.args[0]).split())}") from None
    missing = [name for name in sections if name not in config]
    settings.require(not missing, f"--config lacks {', '.join(missing)}: it is not a config file of this program")
    return config


def require_flag(flag: Any) -> None:
    """Refuses a start without a flag.

    Raises:
      SettingsError: the flag was not given.
    """
    settings.require(bool(flag.value), f"--{flag.name} is missing; {flag.__doc__ or 'it'} is needed")


def start(main: Callable[..., None], positional: bool = False) -> None:
    """Parses the flags and runs `main`; what the user can mend is one line on stderr and an exit code.

    Args:
      positional: whether the program takes arguments besides flags; `main` gets them.
    """
    logging.set_verbosity(logging.WARNING)  # of libraries, orbax above all
    app.run(lambda argv: _guarded(main, argv[1:]), flags_parser=functools.partial(_parse_flags, positional=positional))


def _parse_flags(argv: list[str], positional: bool) -> list[str]:
    try:
        with settings.one_line_errors():
            rest = flags.FLAGS(argv)
    except SettingsError as error:
        _fail(str(error), settings.EXIT_BAD_INPUT)
    if rest[1:] and not positional:
        _fail(f"unexpected argument {rest[1]!r}; every option starts with --", settings.EXIT_BAD_INPUT)
    return rest


def _guarded(main: Callable[..., None], arguments: Sequence[str]) -> None:
    import jax  # seconds to import, and not needed for bad flags

    from soar_jax.reporting.interrupts import InterruptedRunError
    from soar_jax.soar.student import NotFiniteError

    try:
        main(*arguments)
    except SettingsError as error:
        _fail(str(error), settings.EXIT_BAD_INPUT)
    except NotFiniteError as error:
        _fail(str(error), settings.EXIT_NOT_FINITE)
    except InterruptedRunError:
        command = shlex.join([sys.executable, *sys.argv])
        _fail(f"stopped; all completed outer steps are saved. Resume with: {command}", settings.EXIT_INTERRUPTED)
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        _fail(
            f"another process of this run has ended or cannot be reached ({str(error).splitlines()[0][:200]}); start "
            "the same command on all hosts again, and it resumes",
            settings.EXIT_LOST_PROCESS,
        )
    except KeyboardInterrupt:
        _fail("stopped", settings.EXIT_INTERRUPTED)


def _fail(message: str, code: int) -> Any:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
