import importlib.util

import pytest

from soar_jax.errors import SettingsError
from soar_jax.planning import target_devices
from soar_jax.telemetry.devices import DEVICES, GPU

GPUS = [device for device in DEVICES if device.platform == GPU]
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`")
needs_cuda_plugin = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None, reason="needs the package jax-cuda13-plugin"
)


@pytest.mark.slow
@needs_libtpu
def test_chips_of_two_devices_are_one_line():
    with pytest.raises(SettingsError, match="libtpu sees 8 devices in the 4 chips of 'v4:2x2x1'"):
        target_devices.topology_devices("v4:2x2x1")


@pytest.mark.parametrize(
    ("topology", "message"),
    [("v6e:2x4", r"pip install 'soar-jax\[tpu\]'"), ("h100:8", r'pip install "jax\[cuda13\]"')],
)
def test_without_the_compiler_one_line_names_what_to_install(monkeypatch, topology, message):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=message):
        target_devices.topology_devices(topology)


def test_more_gpus_than_a_node_has_are_whole_nodes():
    with pytest.raises(SettingsError, match="h100:12 is not made of nodes of 8 GPUs"):
        target_devices.topology_devices("h100:12")


@needs_cuda_plugin
@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_a_gpu_is_described_as_jax_sees_one(gpu):
    device, devices = target_devices.topology_devices(f"{gpu.name}:2")
    assert device == gpu
    assert [one.platform for one in devices] == ["gpu", "gpu"]
    assert devices[0].device_kind in gpu.jax_kinds


@needs_cuda_plugin
def test_two_nodes_are_two_processes():
    _, devices = target_devices.topology_devices("h100:16")
    assert [one.process_index for one in devices] == [0] * 8 + [1] * 8


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_cuda_and_nccl_are_left_some_of_the_memory(gpu):
    assert 0.93 < gpu.memory_bytes / target_devices.reported_memory(gpu) < 0.95
