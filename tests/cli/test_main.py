"""The console script `soar-jax`."""

import importlib
import pathlib
import sys

import pytest

from soar_jax.cli import main
from tests.conftest import ROOT


@pytest.fixture
def soar_jax(monkeypatch, capsys):
    """Runs the console script in this process; its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["soar-jax", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_help_lists_all_programs(soar_jax):
    code, out, _ = soar_jax("--help")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == list(main.PROGRAMS)


def test_no_program_is_bad_input(soar_jax):
    code, out, _ = soar_jax()
    assert (code, out.splitlines()[0]) == (
        2,
        "usage: soar-jax PROGRAM [flags]; soar-jax PROGRAM --help lists its flags",
    )


def test_unknown_program_is_one_line(soar_jax):
    code, out, err = soar_jax("rnu", "--config=soar_math")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no program 'rnu'; choose one of run, reproduce, ")
    assert err.count("\n") == 1


def test_program_gets_the_flags_behind_its_name(monkeypatch):
    received = []
    module = type("program", (), {"start": staticmethod(received.append)})
    monkeypatch.setattr(importlib, "import_module", {"soar_jax.cli.run": module}.__getitem__)
    monkeypatch.setattr(sys, "argv", ["soar-jax", "run", "--config=soar_math", "--seed=1"])
    main.main()
    assert received == [["soar-jax run", "--config=soar_math", "--seed=1"]]


def test_every_program_is_a_module_with_a_file_in_experiments():
    modules = {path.stem for path in pathlib.Path(main.__file__).parent.glob("*.py")}
    assert modules - {"__init__", "command", "main"} == set(main.PROGRAMS)
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} == set(main.PROGRAMS)
    for program in main.PROGRAMS:
        shim = (ROOT / "experiments" / f"{program}.py").read_text(encoding="utf-8")
        assert f"from soar_jax.cli import {program}\n" in shim
        assert shim.endswith(f"    {program}.start()\n")
