"""Processes that are connected by their cluster's environment."""

import contextlib
import http.server
import importlib.util
import os
import socket
import subprocess
import sys
import threading

import pytest

from soar_jax.errors import SettingsError
from soar_jax.parallel import processes
from tests.conftest import ROOT

PROGRAM = """
import sys
from soar_jax.parallel import processes

processes.initialize("", 1, 0)
import jax

processes.assert_equal("the answer", 42)
own = processes.map_across_processes(lambda items: items, [5, 6, 7])
print(jax.process_count(), jax.process_index(), processes.is_main(), own)
print(processes.broadcast_from_main(lambda: {"process": jax.process_index(), "values": [1, None, 0.5, "é"]}))
try:
    processes.assert_equal("its number", jax.process_index())
except processes.DisagreementError as error:
    print(error)
processes.sync()
"""
FIRST_PORT, NUM_PORTS = 61440, 4096  # JAX derives its port from the job id


# A host of a TPU slice without its chips: cluster detection sees a TPU, computation runs on the CPU.
ON_TPU = """
import os
import jax

os.environ.pop("TPU_SKIP_MDS_QUERY", None)  # JAX sets it where it sees no chips
jax.config.update("jax_platforms", "cpu")

from soar_jax.parallel import processes

processes._has_tpu = lambda: True  # private: nothing else tells a host without chips from one with them
"""


def free_port():
    for port in range(FIRST_PORT + os.getpid() % NUM_PORTS, FIRST_PORT + NUM_PORTS):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def check_processes(program, environments):
    """Runs the program once in each environment and checks that they are one run."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in environments
    ]
    try:
        finished = [(*process.communicate(timeout=600), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for number, (out, err, code) in enumerate(finished):
        assert code == 0, err
        first, broadcast, second = out.splitlines()[-3:]  # after lines of gloo
        assert broadcast == "{'process': 0, 'values': [1, None, 0.5, 'é']}"
        assert first == f"2 {number} {number == 0} [5, 6, 7]"
        assert second.startswith("the processes do not agree on its number")


def test_tasks_of_a_slurm_step_are_connected():
    step = {
        "SLURM_JOB_ID": str(free_port() - FIRST_PORT),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "JAX_PLATFORMS": "cpu",
    }
    tasks = [{"SLURM_PROCID": number, "SLURM_LOCALID": number} for number in ("0", "1")]
    check_processes(PROGRAM, [os.environ | step | task for task in tasks])


@contextlib.contextmanager
def metadata(attributes):
    """Serves the attributes of a Google Cloud virtual machine; yields the server's address."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/computeMetadata/v1/instance/attributes/")
            known = name in attributes and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(attributes.get(name, "").encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


ONE_SLICE = {"worker-network-endpoints": "unknown:1:127.0.0.1,unknown:2:127.0.0.1", "tpu-env": "ZONE: 'here'"}
SLICES = "MEGASCALE_COORDINATOR_ADDRESS: '127.0.0.1:8080'\nMEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '{}'"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`")
@pytest.mark.parametrize(
    "attributes",
    [
        [ONE_SLICE | {"agent-worker-number": number} for number in "01"],
        [
            {"agent-worker-number": "0", "worker-network-endpoints": "127.0.0.1", "tpu-env": SLICES.format(number)}
            for number in "01"
        ],
    ],
    ids=["one slice of two hosts", "two slices of one host"],
)
def test_hosts_of_cloud_tpu_slices_are_connected(attributes):
    elsewhere = ("JAX_PLATFORMS", "SLURM_", "TPU_", "MEGASCALE_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    ours |= {"JAX_FORCE_TPU_INIT": "1", "JAX_COORDINATOR_PORT": str(free_port()), "no_proxy": "127.0.0.1"}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(metadata(of_host)) for of_host in attributes]
        check_processes(ON_TPU + PROGRAM, [ours | {"GCE_METADATA_IP": server} for server in servers])


def test_flags_without_a_coordinator_are_refused(monkeypatch):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    with pytest.raises(SettingsError, match="need --coordinator=HOST:PORT"):
        processes.initialize("", 2, 0)


def test_a_number_that_no_process_has_is_refused():
    with pytest.raises(SettingsError, match="--process_id is 2; it must be 0 to 1"):
        processes.initialize("127.0.0.1:1", 2, 2)
