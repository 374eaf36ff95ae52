"""Flags, one-line errors and exit codes of all command-line programs."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from soar_jax.command_line import command_line
from soar_jax.config import method_file
from soar_jax.config.methods import METHODS
from soar_jax.config.reading import one_line_errors, read_config
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_LOST_PROCESS,
    EXIT_NOT_FINITE,
    EXIT_STOPPED,
    DisagreementError,
    InterruptedRunError,
    NotFiniteError,
    SettingsError,
    require,
)

_LESS_MEMORY = (
    "lower sampling.max_slots, sampling.population_batch, student.rows_per_micro_batch or inner.students_at_once, set "
    "student.remat=layers, or split more by the mesh; the run continues where it was. Or lower final.num_replicas in a "
    "new one"
)
_METHOD_FILE = "Method config file, e.g. configs/soar_math.py:nano, or the name of a method, e.g. soar_math:nano."

flags.disclaim_key_flags()  # flags defined here are key flags of the module that calls


def define_config_flag() -> Any:
    """Defines `--config`, a method config file or the name of a method, with overrides `--config.KEY=VALUE`."""
    return config_flags.DEFINE_config_file("config", None, _METHOD_FILE)


def frozen_config(flag: Any, sections: Sequence[str]) -> ml_collections.FrozenConfigDict:
    """Returns the values of a `--config` flag.

    Args:
      sections: keys that the program needs.

    Raises:
      SettingsError: the flag is missing, or its file cannot be loaded or is for another program.
    """
    require(flag.value is not None, "--config is missing; try --config=configs/soar_math.py")
    try:
        config = ml_collections.FrozenConfigDict(flag.value)
    except OSError as error:  # the flag raises errors of loading only when its value is used
        raise SettingsError(f"cannot load --config: {' '.join(str(error.args[0]).split())}") from None
    missing = [name for name in sections if name not in config]
    require(not missing, f"--config lacks {', '.join(missing)}: it is not a config file of this program")
    return config


def run_config(flag: Any) -> RunConfig:
    """Returns the checked config of a `--config` flag.

    Raises:
      SettingsError: as in `frozen_config`, or a value cannot be used.
    """
    return read_config(frozen_config(flag, ("method", "scale", "outer", "inner", "mesh")))


def required(flag: Any) -> str:
    """Returns the value of a required flag.

    Raises:
      SettingsError: the flag was not given; the message has its purpose.
    """
    purpose = " ".join(flags.FLAGS[flag.name].help.split()).rstrip(".")
    require(bool(flag.value), f"--{flag.name} is missing: {purpose[:1].lower()}{purpose[1:]}")
    return str(flag.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessFlags:
    """Flags that connect the processes of one program."""

    coordinator: Any
    num_processes: Any
    process_id: Any

    def connect(self, num_cpu_devices: int) -> None:
        """Connects the processes, splits the CPU into devices, and turns on the compilation cache.

        Raises:
          SettingsError: the processes cannot be connected, or JAX has already started.
        """
        from soar_jax import parallel  # seconds to import
        from soar_jax.parallel import processes
        from soar_jax.parallel.compilation_cache import keep_compiled_programs

        processes.initialize(self.coordinator.value, self.num_processes.value, self.process_id.value)
        parallel.set_num_cpu_devices(num_cpu_devices)
        keep_compiled_programs()


def define_process_flags() -> ProcessFlags:
    """Defines `--coordinator`, `--num_processes` and `--process_id`."""
    return ProcessFlags(
        coordinator=flags.DEFINE_string(
            "coordinator", "", "HOST:PORT of process 0, where Cloud TPU or SLURM do not say it."
        ),
        num_processes=flags.DEFINE_integer("num_processes", 1, "Processes of the program; with --coordinator."),
        process_id=flags.DEFINE_integer("process_id", 0, "Which of them this one is; with --coordinator."),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalFlags:
    """Flags of the programs that evaluate one policy on a benchmark."""

    config: flags.FlagHolder[Any]
    model: flags.FlagHolder[Any]
    out: flags.FlagHolder[Any]
    processes: ProcessFlags

    def read(self) -> tuple[RunConfig, str, epath.Path]:
        """Connects the processes; returns the config, the policy's name and the folder for the results.

        Raises:
          SettingsError: a flag is missing, or its value cannot be used.
        """
        config = run_config(self.config)
        name = required(self.out)
        from soar_jax.storage import files  # seconds to import

        out = files.to_path(name)
        self.processes.connect(config.mesh.cpu_devices)
        return config, self.model.value or config.model.source, out


def define_eval_flags(out: str) -> EvalFlags:
    """Defines `--config`, `--model`, `--out` and the process flags; `out` is the help text of `--out`."""
    return EvalFlags(
        config=define_config_flag(),
        model=flags.DEFINE_string(
            "model",
            None,
            "A hub id, a Hugging Face folder, a GGUF file, or a run's workdir (:student or :teacher behind it); "
            "default: the config's model.source.",
        ),
        out=flags.DEFINE_string("out", None, out),
        processes=define_process_flags(),
    )


def start(
    main: Callable[..., None], argv: list[str] | None, positional: bool = False, saved: str = "completed outer steps"
) -> None:
    """Parses the flags and runs `main`; errors with a known cause become one line on stderr and an exit code.

    Args:
      argv: replaces `sys.argv`.
      positional: whether the program takes arguments besides flags, which `main` receives.
      saved: what is on disk after a stop signal, for the message.
    """
    logging.set_verbosity(logging.WARNING)  # orbax logs much at INFO
    for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):  # --help lists them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(
        lambda argv: _guarded(main, argv[1:], saved),
        argv=argv,
        flags_parser=functools.partial(_parse_flags, positional=positional),
    )


def _parse_flags(argv: list[str], positional: bool) -> list[str]:
    try:
        with one_line_errors():
            rest = flags.FLAGS([_with_method_file(argument) for argument in argv])
    except SettingsError as error:
        _fail(str(error), EXIT_BAD_INPUT)
    if rest[1:] and not positional:
        _fail(f"unexpected argument {rest[1]!r}; every option starts with --", EXIT_BAD_INPUT)
    return rest


def _with_method_file(argument: str) -> str:
    """Replaces the method name in `--config=METHOD[:SCALE]` by a file that `config_flags` can load."""
    flag, equals, value = argument.partition("=")
    name = value.partition(":")[0]
    if flag.lstrip("-") != "config" or not equals or name.endswith(".py") or pathlib.Path(name).exists():
        return argument
    require(name in METHODS, f"there is no method {name!r}; choose one of {', '.join(METHODS)}, or give a config file")
    return f"{flag}={method_file.__file__}:{value}"


def _guarded(main: Callable[..., None], arguments: Sequence[str], saved: str) -> None:
    try:
        main(*arguments)
    except InterruptedRunError:  # raised in all processes
        _fail(f"stopped; all {saved} are saved. Resume with: {command_line(sys.executable)}", EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout has closed it
        raise
    except SettingsError as error:
        _end(str(error), EXIT_BAD_INPUT)
    except (Exception, KeyboardInterrupt) as error:
        known = _known_cause(error)
        if known is None:
            if not _is_distributed():
                raise
            traceback.print_exc()
        _end(*(known or ("this process has failed, see above", EXIT_FAILED)))


def _known_cause(error: BaseException) -> tuple[str, int] | None:
    """Returns the message and the exit code of an error; None if its cause is unknown."""
    import jax

    from soar_jax.parallel import processes

    line = (str(error).splitlines() or [""])[0][:200]
    match error:
        case DisagreementError():
            return str(error), EXIT_BAD_INPUT
        case NotFiniteError():
            return str(error), EXIT_NOT_FINITE
        case jax.errors.JaxRuntimeError() if "RESOURCE_EXHAUSTED" in line:
            return f"a device has too little memory ({line}); {_LESS_MEMORY}", EXIT_BAD_INPUT
        case jax.errors.JaxRuntimeError() if processes.is_distributed():
            return processes.lost(line), EXIT_LOST_PROCESS
        case ValueError() if processes.is_distributed() and "Gloo" in line:  # raised by the first call of a program
            return processes.lost(line), EXIT_LOST_PROCESS
        case OSError():
            return f"{error}; mend it and start the same command again", EXIT_BAD_INPUT
        case KeyboardInterrupt():
            return "stopped", EXIT_STOPPED
    return None


def _is_distributed() -> bool:
    """Whether this process is one of several; imports nothing if JAX was not imported."""
    if "jax" not in sys.modules:
        return False
    from soar_jax.parallel import processes

    return processes.is_distributed()


def _end(message: str, code: int) -> Any:
    """Ends this process, without waiting for the others if there are any."""
    if not _is_distributed():
        _fail(message, code)
    from soar_jax.parallel import processes

    processes.end_at_once(message, code)


def _fail(message: str, code: int) -> Any:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
