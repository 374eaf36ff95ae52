import dataclasses

import jax
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.telemetry import devices
from soar_jax.telemetry.devices import Peaks, peaks
from soar_jax.telemetry.meter import Work
from soar_jax.telemetry.timings import step_timings

PEAKS = Peaks(flops_per_s=100.0, bytes_per_s=10.0, are_measured=False)


def test_a_step_adds_up_by_hand():
    work = {"sampling": Work(sampled_tokens=40, flops=50.0, decoding_bytes=8.0, busy_s=1.5), "": Work(busy_s=0.5)}
    row = step_timings(4.0, {"sampling": 2.0, "grading": 2.0}, work=work, peaks=PEAKS)
    assert (row["step_s"], row["tokens_per_s"], row["device_idle_share"]) == (4.0, 10.0, 0.5)
    phase = {"s": 2.0, "tokens_per_s": 20.0, "device_idle_share": 0.25, "mfu": 0.25, "decoding_bandwidth": 0.4}
    assert row["phases"] == {"sampling": pytest.approx(phase), "grading": {"s": 2.0}}


def test_an_unknown_device_is_measured(mesh):
    found = peaks(mesh, "float32")
    assert found.are_measured
    assert found.flops_per_s > 1e8
    assert found.bytes_per_s > 1e7


def test_measured_peaks_are_sums_over_devices(mesh, monkeypatch):
    # Private names: a fake clock and small arrays make the measurement exact.
    monkeypatch.setattr(devices, "_best_time", lambda function, x: 2.0 * function(x).shape[0] / mesh.size)  # seconds
    monkeypatch.setattr(devices, "_CPU_SIDE", 8)
    monkeypatch.setattr(devices, "_CPU_COPIED", 16)
    # 8 x 8 x 8 products and sums, and 16 numbers of 4 bytes read and written, on each device
    assert peaks(mesh, "float32") == Peaks(
        flops_per_s=mesh.size * 1024 / 2, bytes_per_s=mesh.size * 128 / 2, are_measured=True
    )


@pytest.mark.parametrize(
    ("kind", "flops_per_s", "bytes_per_s"),
    [("NVIDIA H100 80GB HBM3", 989.4e12, 3.35e12), ("TPU v6 lite", 918e12, 1.64e12), ("TPU v6e", 918e12, 1.64e12)],
)
def test_known_devices_have_table_peaks_times_mesh_size(kind, flops_per_s, bytes_per_s):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Chip:
        id: int
        device_kind: str = kind
        platform: str = "gpu"

    chips = np.array([Chip(id=number) for number in range(4)]).reshape(2, 1, 2, 1)
    found = peaks(jax.sharding.Mesh(chips, parallel.AXES), "bfloat16")
    assert found == Peaks(flops_per_s=4 * flops_per_s, bytes_per_s=4 * bytes_per_s, are_measured=False)
    assert found.utilization(2 * flops_per_s, bytes_per_s, 1.0) == (0.5, 0.25)
