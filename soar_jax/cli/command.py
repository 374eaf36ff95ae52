"""What all command-line programs share: flags, one-line errors, exit codes."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections
from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from soar_jax import settings
from soar_jax.settings import SettingsError

_LESS_MEMORY = (
    "lower sampling.max_slots, student.rows_per_micro_batch or inner.students_at_once, or share more out by the mesh, "
    "with which a run goes on where it was; or lower final.num_replicas in a new one"
)

flags.disclaim_key_flags()  # flags that are defined here are the program's that asks for them


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
    """Refuses a start without a flag, and says what it is for.

    Raises:
      SettingsError: the flag was not given.
    """
    purpose = " ".join(flags.FLAGS[flag.name].help.split()).rstrip(".")
    settings.require(bool(flag.value), f"--{flag.name} is missing: {purpose[:1].lower()}{purpose[1:]}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessFlags:
    """The flags by which the processes of one program find each other."""

    coordinator: Any
    num_processes: Any
    process_id: Any

    def connect(self, num_cpu_devices: int) -> None:
        """Connects this process to the others, if there are any, and splits the CPU into devices.

        Raises:
          SettingsError: they cannot be connected, or JAX has already started.
        """
        from soar_jax.parallel import mesh, processes  # seconds to import

        processes.initialize(self.coordinator.value, self.num_processes.value, self.process_id.value)
        mesh.set_num_cpu_devices(num_cpu_devices)


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
class AskingFlags:
    """The flags of the programs that ask one policy a benchmark."""

    config: Any
    model: Any
    out: Any
    processes: ProcessFlags

    def read(self) -> tuple[ml_collections.FrozenConfigDict, str, epath.Path]:
        """The config, the policy's name and the folder for the results; processes are connected.

        Raises:
          SettingsError: a flag is missing, or its value cannot be used.
        """
        from soar_jax.storage import files  # seconds to import

        sections = ("problems", "prompts", "grading", "evaluation", "hard_subset", "mesh")
        config = frozen_config(self.config, sections)
        require_flag(self.out)
        out = files.to_path(self.out.value)
        self.processes.connect(config.mesh.cpu_devices)
        return config, self.model.value or config.model.source, out


def define_asking_flags(out: str) -> AskingFlags:
    """Defines `--config`, `--model`, `--out` and the process flags; `out` says what that folder is for."""
    return AskingFlags(
        config=config_flags.DEFINE_config_file("config", None, "Method config file, e.g. configs/soar_math.py:nano."),
        model=flags.DEFINE_string(
            "model",
            None,
            "A hub id, a Hugging Face folder, a GGUF file, or a run's workdir (:student or :teacher behind it); "
            "default: the config's model.source.",
        ),
        out=flags.DEFINE_string("out", None, out),
        processes=define_process_flags(),
    )


def start(main: Callable[..., None], positional: bool = False, saved: str = "completed outer steps") -> None:
    """Parses the flags and runs `main`; what the user can mend is one line on stderr and an exit code.

    Args:
      positional: whether the program takes arguments besides flags; `main` gets them.
      saved: what is on disk when a stop signal has ended the program.
    """
    logging.set_verbosity(logging.WARNING)  # of libraries, orbax above all
    app.run(
        lambda argv: _guarded(main, argv[1:], saved),
        flags_parser=functools.partial(_parse_flags, positional=positional),
    )


def _parse_flags(argv: list[str], positional: bool) -> list[str]:
    try:
        with settings.one_line_errors():
            rest = flags.FLAGS(argv)
    except SettingsError as error:
        _fail(str(error), settings.EXIT_BAD_INPUT)
    if rest[1:] and not positional:
        _fail(f"unexpected argument {rest[1]!r}; every option starts with --", settings.EXIT_BAD_INPUT)
    return rest


def _guarded(main: Callable[..., None], arguments: Sequence[str], saved: str) -> None:
    from soar_jax.parallel import processes  # seconds to import, and not needed for bad flags
    from soar_jax.parallel.compilation_cache import keep_compiled_programs
    from soar_jax.runs.interrupts import InterruptedRunError

    keep_compiled_programs()
    try:
        main(*arguments)
    except InterruptedRunError:  # which all processes heed together
        command = shlex.join([sys.executable, *sys.argv])
        _fail(f"stopped; all {saved} are saved. Resume with: {command}", settings.EXIT_INTERRUPTED)
    except BrokenPipeError:  # who reads the output has gone: nothing to mend
        raise
    except (Exception, KeyboardInterrupt) as error:
        are_several, told = processes.is_distributed(), _told(error)
        if told is None and not are_several:
            raise
        if told is None:
            traceback.print_exc()
        end = processes.end_at_once if are_several else _fail
        end(*(told or ("this process has failed, see above", settings.EXIT_FAILED)))


def _told(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit code for an error with a known cause."""
    import jax

    from soar_jax.parallel import processes
    from soar_jax.soar.inner_loop import NotFiniteError

    said = (str(error).splitlines() or [""])[0][:200]
    match error:
        case SettingsError() | processes.DisagreementError():
            return str(error), settings.EXIT_BAD_INPUT
        case NotFiniteError():
            return str(error), settings.EXIT_NOT_FINITE
        case jax.errors.JaxRuntimeError() if "RESOURCE_EXHAUSTED" in said:
            return f"a device has too little memory ({said}); {_LESS_MEMORY}", settings.EXIT_BAD_INPUT
        case jax.errors.JaxRuntimeError() if processes.is_distributed():
            return processes.lost(said), settings.EXIT_LOST_PROCESS
        case ValueError() if processes.is_distributed() and "Gloo" in said:  # the same, from a program's first call
            return processes.lost(said), settings.EXIT_LOST_PROCESS
        case OSError():
            return f"{error}; mend it and start the same command again", settings.EXIT_BAD_INPUT
        case KeyboardInterrupt():
            return "stopped", settings.EXIT_STOPPED
    return None


def _fail(message: str, code: int) -> Any:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
