import jax
import pytest

from soar_jax.model.work import Work
from soar_jax.parallel import mesh as parallel
from soar_jax.planning.devices import Peaks, peaks
from soar_jax.planning.speed import step_timings

PEAKS = Peaks(flops_per_s=100.0, bytes_per_s=10.0, are_measured=False)


def test_a_step_adds_up_by_hand():
    work = {"sampling": Work(sampled_tokens=40, flops=50.0, decoding_bytes=8.0, busy_s=1.5), "": Work(busy_s=0.5)}
    row = step_timings(4.0, {"sampling": 2.0, "grading": 2.0}, work, PEAKS)
    assert (row["step_s"], row["tokens_per_s"], row["device_idle_share"]) == (4.0, 10.0, 0.5)
    phase = {"s": 2.0, "tokens_per_s": 20.0, "device_idle_share": 0.25, "mfu": 0.25, "decoding_bandwidth": 0.4}
    assert row["phases"] == {"sampling": pytest.approx(phase), "grading": {"s": 2.0}}


def test_an_unknown_device_is_measured(mesh):
    found = peaks(mesh, "float32")
    assert found.are_measured
    assert found.flops_per_s > 1e8
    assert found.bytes_per_s > 1e7
    assert dict(mesh.shape)[parallel.POPULATION] == jax.device_count()
