"""Flags, one-line errors and exit codes of the programs."""

import errno
import sys
from types import SimpleNamespace

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from configs import pretrain_nano, soar_math
from soar_jax.cli import command
from soar_jax.config import method_config, read_config
from soar_jax.errors import (
    EXIT_LOST_PROCESS,
    DisagreementError,
    InterruptedRunError,
    NotFiniteError,
    SettingsError,
)
from soar_jax.parallel import compilation_cache, processes

# `_known_cause`, `_guarded` and `_parse_flags` are private to command.py: from outside they end the test's process.


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
    ("error", "line", "code"),
    [
        (SettingsError("mend this"), "mend this", 2),
        (DisagreementError("the processes do not agree"), "the processes do not agree", 2),
        (NotFiniteError("loss is not finite"), "loss is not finite", 3),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; mend it and start the same", 2),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB\nmore"), "a device has too little memory (RESOURCE", 2),
        (KeyboardInterrupt(), "stopped", 130),
    ],
)
def test_error_with_a_known_cause_is_one_line(guarded, error, line, code):
    def main():
        raise error

    ended, err = guarded(main)
    assert ended == code
    assert err.startswith("error: ")
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("Gloo"), jax.errors.JaxRuntimeError("INTERNAL: x"), RuntimeError("")])
def test_unforeseen_error_of_one_process_keeps_its_traceback(error):
    assert command._known_cause(error) is None


@pytest.mark.parametrize("error", [ValueError("UNKNOWN: Gloo AllGather failed"), jax.errors.JaxRuntimeError("x")])
def test_broken_exchange_of_processes_is_a_lost_process(error, monkeypatch):
    monkeypatch.setattr(processes, "is_distributed", lambda: True)
    line, code = command._known_cause(error)
    assert "start the same command on all hosts again" in line
    assert code == EXIT_LOST_PROCESS


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
def test_config_that_a_program_cannot_use_is_one_line(guarded, flag, line):
    code, err = guarded(lambda: command.frozen_config(flag, ("seed", "method", "outer")))
    assert (code, err) == (2, f"error: {line}\n")


def test_missing_config_file_is_one_line(guarded):
    values, argv = flags.FlagValues(), ["program", "--config=no/such.py"]
    flag = config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    values(argv)
    code, err = guarded(lambda: command.frozen_config(flag, ("outer",)))
    assert code == 2
    assert err.startswith("error: cannot load --config: ")
    assert err.endswith("No such file or directory: 'no/such.py'\n")
    assert err.count("\n") == 1


def test_frozen_config_is_frozen():
    config = command.frozen_config(SimpleNamespace(value=soar_math.get_config()), ("method", "outer"))
    assert config.method == "soar_math"
    with pytest.raises(AttributeError):
        config.seed = 1


def test_stopped_run_says_how_to_resume(guarded, monkeypatch):
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
def test_slip_on_the_command_line_is_one_line(own_flags, capsys, argument, line):
    with pytest.raises(SystemExit) as ended:
        command._parse_flags(["program", "--out=there", argument], positional=False)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_arguments_reach_a_program_that_takes_them(own_flags):
    assert command._parse_flags(["program", "a", "--out=there", "b"], positional=True) == ["program", "a", "b"]
    assert own_flags.out == "there"


def test_missing_flag_is_named_with_its_purpose(own_flags):
    with pytest.raises(SettingsError, match=r"^--out is missing: where the results go$"):
        command.required(SimpleNamespace(name="out", value=None))
    assert command.required(SimpleNamespace(name="out", value="there")) == "there"


def test_run_config_is_typed_and_checked():
    flag = SimpleNamespace(value=method_config("curated"))
    assert command.run_config(flag) == read_config(method_config("curated"))
    flag.value.inner.group_size = 1
    with pytest.raises(SettingsError, match=r"^inner.group_size is 1; RLOO needs at least 2 samples a question$"):
        command.run_config(flag)


@pytest.fixture
def config_flag(monkeypatch):
    """The flag --config in the place of this process's own flags, parsed as the programs parse it."""

    def parse(*arguments):
        values, argv = flags.FlagValues(), ["program", *arguments]
        monkeypatch.setattr(flags, "FLAGS", values)
        flag = config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
        command._parse_flags(argv, positional=False)
        return flag

    return parse


@pytest.mark.parametrize(
    ("value", "method", "scale"),
    [
        ("configs/soar_math.py", "soar_math", "nano"),
        ("configs/serl.py:llama3.2-3b", "serl", "llama3.2-3b"),
        ("soar_math", "soar_math", "nano"),
        ("serl:llama3.2-3b", "serl", "llama3.2-3b"),
    ],
)
def test_config_is_a_file_or_the_name_of_a_method(config_flag, value, method, scale):
    config = command.run_config(config_flag(f"--config={value}", "--config.inner.group_size=5"))
    assert (config.method, config.scale, config.inner.group_size) == (method, scale, 5)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--config=soar_mth:nano",), "there is no method 'soar_mth'; choose one of soar_math, "),
        (("--config=soar_math:nanno",), "unknown scale 'nanno'; choose one of nano, "),
        (("--config=configs/soar_math.py:nanno",), "unknown scale 'nanno'; choose one of nano, "),
        (("--config=soar_math", "--config.inner.gruop_size=5"), "no such config key: "),
    ],
)
def test_slip_in_a_config_flag_is_one_line(config_flag, capsys, arguments, line):
    with pytest.raises(SystemExit) as ended:
        config_flag(*arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}")
    assert error.count("\n") == 1
