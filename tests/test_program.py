"""What the programs make of errors."""

import errno

import jax
import pytest

from soar_jax import program, settings
from soar_jax.parallel import hosts
from soar_jax.soar.student import NotFiniteError


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (settings.SettingsError("mend this"), "mend this", 2),
        (hosts.DisagreementError("the processes do not agree"), "the processes do not agree", 2),
        (NotFiniteError("loss is not finite"), "loss is not finite", 3),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; mend it and start the same", 2),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB\nmore"), "a device has too little memory (RESOURCE", 2),
        (KeyboardInterrupt(), "stopped", 130),
    ],
)
def test_an_error_with_a_known_cause_is_one_line(error, line, code):
    told = program._told(error)
    assert told is not None
    assert line in told[0]
    assert "\n" not in told[0]
    assert told[1] == code


@pytest.mark.parametrize("error", [ValueError("Gloo"), jax.errors.JaxRuntimeError("INTERNAL: x"), RuntimeError("")])
def test_an_unforeseen_error_of_one_process_keeps_its_traceback(error):
    assert program._told(error) is None


@pytest.mark.parametrize("error", [ValueError("UNKNOWN: Gloo AllGather failed"), jax.errors.JaxRuntimeError("x")])
def test_where_processes_are_connected_a_broken_exchange_is_a_lost_process(error, monkeypatch):
    monkeypatch.setattr(hosts, "are_connected", lambda: True)
    line, code = program._told(error)
    assert "start the same command on all hosts again" in line
    assert code == settings.EXIT_LOST_PROCESS
