"""Known accelerators, topologies such as "v6e:4x4", and peak throughput.

Peaks are vendor figures for dense bfloat16. Prices are assumptions: typical on-demand prices of one chip in early 2026,
in US regions for TPUs and at specialised clouds for GPUs. Spot and reserved chips cost less.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from soar_jax.errors import require

TPU, GPU = "tpu", "gpu"
PRICES_OF = "early 2026"
MAX_CHIPS = 16_384
# Measured on devices that are not in the table: a product of square matrices, and a copy of float32 numbers.
_CPU_SIDE, _SIDE = 1024, 8192
_CPU_COPIED, _COPIED = 2**24, 2**27
_TOPOLOGY = re.compile(r"([a-z0-9-]+):([0-9]{1,6}(?:x[0-9]{1,6}){0,3})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator chip."""

    name: str  # in a topology
    platform: str  # in JAX: TPU or GPU
    title: str
    peak_flops: float  # per second, dense bfloat16
    memory_bytes: float
    bandwidth: float  # of memory, bytes per second
    usd_per_hour: float
    jax_kinds: tuple[str, ...]  # `device_kind` in JAX


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """A number of chips of one kind."""

    device: Device
    num_chips: int


DEVICES = (
    Device(name="h100", platform=GPU, title="NVIDIA H100 SXM", peak_flops=989.4e12, memory_bytes=80e9,
           bandwidth=3.35e12, usd_per_hour=3.00, jax_kinds=("NVIDIA H100 80GB HBM3",)),
    Device(name="h200", platform=GPU, title="NVIDIA H200", peak_flops=989.4e12, memory_bytes=141e9, bandwidth=4.8e12,
           usd_per_hour=3.80, jax_kinds=("NVIDIA H200",)),
    Device(name="a100", platform=GPU, title="NVIDIA A100 80GB", peak_flops=312e12, memory_bytes=80e9,
           bandwidth=2.039e12, usd_per_hour=2.00, jax_kinds=("NVIDIA A100-SXM4-80GB",)),
    Device(name="b200", platform=GPU, title="NVIDIA B200", peak_flops=2250e12, memory_bytes=180e9, bandwidth=8e12,
           usd_per_hour=5.50, jax_kinds=("NVIDIA B200",)),
    Device(name="v4", platform=TPU, title="TPU v4", peak_flops=275e12, memory_bytes=32e9, bandwidth=1.228e12,
           usd_per_hour=3.22, jax_kinds=("TPU v4",)),
    Device(name="v5e", platform=TPU, title="TPU v5e", peak_flops=197e12, memory_bytes=16e9, bandwidth=0.819e12,
           usd_per_hour=1.20, jax_kinds=("TPU v5 lite", "TPU v5e")),
    Device(name="v5p", platform=TPU, title="TPU v5p", peak_flops=459e12, memory_bytes=95e9, bandwidth=2.765e12,
           usd_per_hour=4.20, jax_kinds=("TPU v5", "TPU v5p")),
    Device(name="v6e", platform=TPU, title="TPU v6e", peak_flops=918e12, memory_bytes=32e9, bandwidth=1.64e12,
           usd_per_hour=2.70, jax_kinds=("TPU v6 lite", "TPU v6e")),
)  # fmt: skip
H100 = DEVICES[0]
_BY_NAME = {device.name: device for device in DEVICES}
_BY_KIND = {kind: device for device in DEVICES for kind in device.jax_kinds}


def parse_topology(text: str) -> Topology:
    """Parses "DEVICE:CHIPS", where CHIPS may be a grid: "h100:8", "v6e:4x4", "v5p:2x2x4".

    Raises:
      SettingsError: the text has another form, or the device is not in the table.
    """
    match = _TOPOLOGY.fullmatch(text)
    require(match is not None, f"topology {text!r} has not the form DEVICE:CHIPS, e.g. v6e:4x4 or h100:8")
    assert match is not None
    name, grid = match.groups()
    require(name in _BY_NAME, f"topology {text!r} names no known device; choose one of {', '.join(_BY_NAME)}")
    num_chips = math.prod(int(side) for side in grid.split("x"))
    require(1 <= num_chips <= MAX_CHIPS, f"topology {text!r} has {num_chips} chips; it must have 1 to {MAX_CHIPS}")
    return Topology(device=_BY_NAME[name], num_chips=num_chips)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peaks:
    """Peak throughput, summed over the devices of a mesh."""

    flops_per_s: float
    bytes_per_s: float
    are_measured: bool  # else from the table

    def utilization(self, flops: float, moved_bytes: float, seconds: float) -> tuple[float, float]:
        """Returns achieved FLOPs per second and bandwidth as fractions of the peaks."""
        return flops / seconds / self.flops_per_s, moved_bytes / seconds / self.bytes_per_s


def peaks(mesh: Mesh, dtype: str) -> Peaks:
    """Returns the peaks of a mesh's devices from the table, or measures them with products in `dtype`."""
    first = mesh.devices.flat[0]
    device, is_cpu = _BY_KIND.get(first.device_kind), first.platform == "cpu"
    if device is not None:
        return Peaks(
            flops_per_s=mesh.size * device.peak_flops, bytes_per_s=mesh.size * device.bandwidth, are_measured=False
        )
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    side, copied = (_CPU_SIDE, _CPU_COPIED) if is_cpu else (_SIDE, _COPIED)

    matrix = np.random.default_rng(0).standard_normal((side, side), np.float32).astype(jnp.dtype(dtype))
    shapes = (mesh.size, side, side), (mesh.size, copied)  # one of each per device
    matrices = jax.make_array_from_callback(shapes[0], sharding, lambda _: matrix[None])
    numbers = jax.make_array_from_callback(shapes[1], sharding, lambda _: np.ones((1, copied), np.float32))
    product_s = _best_time(jax.jit(lambda x: x @ x), matrices)
    copy_s = _best_time(jax.jit(lambda x: x + 1), numbers)
    return Peaks(
        flops_per_s=mesh.size * 2 * side**3 / product_s, bytes_per_s=mesh.size * 8 * copied / copy_s, are_measured=True
    )


def _best_time(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> float:
    jax.block_until_ready(function(x))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        jax.block_until_ready(function(x))
        times.append(time.perf_counter() - started)
    return min(times)


def device_memory(device: jax.Device) -> float | None:
    """Bytes that programs may use of a device, as it reports them or from the table; None of a CPU and if unknown."""
    if device.platform == "cpu":
        return None
    reported = (device.memory_stats() or {}).get("bytes_limit")
    if reported:
        return float(reported)
    known = _BY_KIND.get(device.device_kind)
    return known.memory_bytes if known else None


def local_topology() -> Topology:
    """Returns the chips that JAX sees.

    Raises:
      SettingsError: they are not in the table.
    """
    chips = jax.devices()
    kind = chips[0].device_kind
    require(
        kind in _BY_KIND,
        f"JAX sees {len(chips)} x {kind!r} here, which is no known accelerator; name one, e.g. --topology=v6e:4x4",
    )
    return Topology(device=_BY_KIND[kind], num_chips=len(chips))
