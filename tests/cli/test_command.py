"""What the programs make of errors."""

import errno
import sys
from types import SimpleNamespace

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from configs import pretrain_nano, soar_math
from soar_jax import settings
from soar_jax.cli import command
from soar_jax.parallel import compilation_cache, processes
from soar_jax.runs.interrupts import InterruptedRunError
from soar_jax.soar.inner_loop import NotFiniteError


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (settings.SettingsError("mend this"), "mend this", 2),
        (processes.DisagreementError("the processes do not agree"), "the processes do not agree", 2),
        (NotFiniteError("loss is not finite"), "loss is not finite", 3),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; mend it and start the same", 2),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB\nmore"), "a device has too little memory (RESOURCE", 2),
        (KeyboardInterrupt(), "stopped", 130),
    ],
)
def test_an_error_with_a_known_cause_is_one_line(error, line, code):
    told = command._told(error)
    assert told is not None
    assert line in told[0]
    assert "\n" not in told[0]
    assert told[1] == code


@pytest.mark.parametrize("error", [ValueError("Gloo"), jax.errors.JaxRuntimeError("INTERNAL: x"), RuntimeError("")])
def test_an_unforeseen_error_of_one_process_keeps_its_traceback(error):
    assert command._told(error) is None


@pytest.mark.parametrize("error", [ValueError("UNKNOWN: Gloo AllGather failed"), jax.errors.JaxRuntimeError("x")])
def test_where_processes_are_connected_a_broken_exchange_is_a_lost_process(error, monkeypatch):
    monkeypatch.setattr(processes, "are_connected", lambda: True)
    line, code = command._told(error)
    assert "start the same command on all hosts again" in line
    assert code == settings.EXIT_LOST_PROCESS


@pytest.fixture
def guarded(monkeypatch, capsys):
    """Runs a function as a program's main; the exit code and what is on stderr."""
    monkeypatch.setattr(compilation_cache, "keep_compiled_programs", lambda: None)

    def run(main):
        with pytest.raises(SystemExit) as ended:
            command._guarded(main, [], "steps")
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        (
            SimpleNamespace(value=pretrain_nano.get_config()),
            "--config lacks method, outer: it is not a config file of this program",
        ),
        (SimpleNamespace(value=None), "--config is missing; try --config=configs/soar_math.py"),
    ],
)
def test_a_config_that_a_program_cannot_use_is_one_line(guarded, flag, line):
    code, err = guarded(lambda: command.frozen_config(flag, ("seed", "method", "outer")))
    assert (code, err) == (2, f"error: {line}\n")


def test_a_config_file_that_is_not_there_is_one_line(guarded):
    values, argv = flags.FlagValues(), ["program", "--config=no/such.py"]
    flag = config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    values(argv)
    code, err = guarded(lambda: command.frozen_config(flag, ("outer",)))
    assert code == 2
    assert err.startswith("error: cannot load --config: ")
    assert err.endswith("No such file or directory: 'no/such.py'\n")
    assert err.count("\n") == 1


def test_a_programs_own_config_is_frozen():
    config = command.frozen_config(SimpleNamespace(value=soar_math.get_config()), ("method", "outer"))
    assert config.method == "soar_math"
    with pytest.raises(AttributeError):
        config.seed = 1


def test_a_run_that_was_told_to_stop_says_how_to_resume(guarded, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["experiments/run.py", "--workdir=a b"])

    def main():
        raise InterruptedRunError

    code, err = guarded(main)
    assert code == 75
    assert err.startswith("error: stopped; all steps are saved. Resume with: ")
    assert err.endswith(" experiments/run.py '--workdir=a b'\n")


@pytest.fixture
def own_flags(monkeypatch):
    """One flag, --out, in the place of this process's own."""
    values = flags.FlagValues()
    flags.DEFINE_string("out", None, "Where the results  go.", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    return values


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("out=here", "unexpected argument 'out=here'; every option starts with --"),
        ("--uot=here", "Unknown command line flag 'uot'. Did you mean: out ?"),
    ],
)
def test_a_slip_on_the_command_line_is_one_line(own_flags, capsys, argument, line):
    with pytest.raises(SystemExit) as ended:
        command._parse_flags(["program", "--out=there", argument], positional=False)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_arguments_reach_a_program_that_takes_them(own_flags):
    assert command._parse_flags(["program", "a", "--out=there", "b"], positional=True) == ["program", "a", "b"]
    assert own_flags.out == "there"


def test_a_flag_that_is_needed_is_asked_for_with_its_purpose(own_flags):
    with pytest.raises(settings.SettingsError, match=r"^--out is missing: where the results go$"):
        command.require_flag(SimpleNamespace(name="out", value=None))
