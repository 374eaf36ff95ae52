"""Processes that find each other by what their cluster says."""

import os
import socket
import subprocess
import sys

import pytest

from soar_jax.parallel import hosts
from soar_jax.settings import SettingsError
from tests.conftest import ROOT

PROGRAM = """
import sys
from soar_jax.parallel import hosts

hosts.initialize("", 1, 0)
import jax

hosts.agree("the answer", 42)
print(jax.process_count(), jax.process_index(), hosts.is_main(), hosts.share_out(lambda items: items, [5, 6, 7]))
print(hosts.from_main(lambda: {"process": jax.process_index(), "values": [1, None, 0.5, "é"]}))
try:
    hosts.agree("its number", jax.process_index())
except hosts.DisagreementError as error:
    print(error)
hosts.sync()
"""
FIRST_PORT, NUM_PORTS = 61440, 4096  # JAX picks its port there, by the job's number


def free_port():
    for port in range(FIRST_PORT + os.getpid() % NUM_PORTS, FIRST_PORT + NUM_PORTS):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def test_the_tasks_of_a_slurm_step_are_the_processes_of_a_run():
    step = {
        "SLURM_JOB_ID": str(free_port() - FIRST_PORT),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "JAX_PLATFORMS": "cpu",
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=os.environ | step | {"SLURM_PROCID": number, "SLURM_LOCALID": number},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in ("0", "1")
    ]
    try:
        finished = [(*task.communicate(timeout=120), task.returncode) for task in tasks]
    finally:
        for task in tasks:
            task.kill()
    for number, (out, err, code) in enumerate(finished):
        assert code == 0, err
        first, told, second = out.splitlines()[-3:]  # gloo has its say before
        assert told == "{'process': 0, 'values': [1, None, 0.5, 'é']}"
        assert first == f"2 {number} {number == 0} [5, 6, 7]"
        assert second.startswith("the processes do not agree on its number")


def test_flags_without_a_coordinator_are_refused(monkeypatch):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    with pytest.raises(SettingsError, match="need --coordinator=HOST:PORT"):
        hosts.initialize("", 2, 0)


def test_a_number_that_no_process_has_is_refused():
    with pytest.raises(SettingsError, match="--process_id is 2; it must be 0 to 1"):
        hosts.initialize("127.0.0.1:1", 2, 2)
