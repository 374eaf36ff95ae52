"""Devices of TPU slices and GPU nodes that are not here, to compile for."""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from soar_jax.errors import SettingsError, require
from soar_jax.telemetry.devices import GPU, Device, Topology, parse_topology

GPUS_PER_NODE = 8
_MEMORY = re.compile(r"^  device_memory_size: (\d+)$", re.MULTILINE)


def topology_devices(topology: str) -> tuple[Device, Sequence[Any]]:
    """The chip of a topology, and devices of it to compile for. Neither needs the chip.

    Args:
      topology: a TPU slice, e.g. "v6e:4x4", or a number of GPUs, e.g. "h100:8"; more than 8 are nodes of 8.

    Raises:
      SettingsError: the compiler is not installed, or there is no such topology.
    """
    asked = parse_topology(topology)
    devices = _gpus(asked) if asked.device.platform == GPU else _tpus(topology, asked.num_chips)
    return asked.device, devices


def target_config(device: Device) -> str:
    """Reads a GPU's target config, the text form of XLA's GpuTargetConfigProto.

    The files are in `gpu_targets/`; each says where its values are from.
    """
    return (importlib.resources.files(__package__) / "gpu_targets" / f"{device.name}.txtpb").read_text()


def reported_memory(device: Device) -> int:
    """The bytes of memory that CUDA reports of a GPU, from its target config."""
    found = _MEMORY.search(target_config(device))
    assert found is not None
    return int(found[1])


def _gpus(asked: Topology) -> Sequence[Any]:
    num_gpus = asked.num_chips
    require(
        num_gpus <= GPUS_PER_NODE or num_gpus % GPUS_PER_NODE == 0,
        f"{asked.device.name}:{num_gpus} is not made of nodes of {GPUS_PER_NODE} GPUs; give at most {GPUS_PER_NODE}, "
        "or a multiple of it",
    )
    require(
        importlib.util.find_spec("jax_cuda13_plugin") is not None,
        'compiling for GPUs needs JAX\'s CUDA plugin (Linux); install it: pip install "jax[cuda13]"',
    )
    from jax.experimental import topologies

    per_node = min(num_gpus, GPUS_PER_NODE)
    shape = f"1x{num_gpus // per_node}x{per_node}"  # slices x nodes x GPUs
    try:
        description = topologies.get_topology_desc(
            platform="cuda", target_config=target_config(asked.device), topology=shape
        )
    except RuntimeError as error:  # or one of its kinds, by what the plugin finds amiss
        reason = str(error).splitlines()[0][:200]
        raise SettingsError(
            f"JAX's CUDA plugin cannot describe {num_gpus} x {asked.device.name} ({reason}); install the one of jax "
            f'{jax.__version__}: pip install "jax[cuda13]=={jax.__version__}"'
        ) from None
    return description.devices


def _tpus(topology: str, num_chips: int) -> Sequence[Any]:
    require(
        importlib.util.find_spec("libtpu") is not None,
        "compiling for TPUs needs libtpu; install the extra `tpu`: pip install 'soar-jax[tpu]'",
    )
    from jax.experimental import topologies

    # No TPU is asked for: neither the cloud's metadata nor the lock that keeps two processes off one TPU matter.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        devices = topologies.get_topology_desc(topology, platform="tpu").devices
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:  # by what libtpu finds amiss
        reason = str(error).splitlines()[0][:200]
        raise SettingsError(
            f"libtpu cannot make topology {topology!r} ({reason}); one that exists is v6e:4x4"
        ) from None
    require(
        len(devices) == num_chips,
        f"libtpu sees {len(devices)} devices in the {num_chips} chips of {topology!r}, half a chip each; only "
        "TPUs that are one device a chip can be checked: v5e, v5p, v6e",
    )
    return devices
