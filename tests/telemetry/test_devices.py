import jax
import pytest

from soar_jax.errors import SettingsError
from soar_jax.telemetry import devices
from soar_jax.telemetry.devices import DEVICES, local_topology, parse_topology


@pytest.mark.parametrize(
    ("text", "name", "num_chips"), [("v6e:4x4", "v6e", 16), ("h100:8", "h100", 8), ("v5p:2x2x4", "v5p", 16)]
)
def test_topologies(text, name, num_chips):
    topology = parse_topology(text)
    assert (topology.device.name, topology.num_chips) == (name, num_chips)


@pytest.mark.parametrize("text", ["", "v6e", "v6e:", "v6e:4x", "v6e:x4", "v6e:-4", "v6e:4x4:2", "V6E:4", " v6e:4"])
def test_other_forms_are_refused(text):
    with pytest.raises(SettingsError, match=r"has not the form DEVICE:CHIPS, e\.g\. v6e:4x4"):
        parse_topology(text)


def test_unknown_devices_are_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"names no known device; choose one of h100, .*v6e"):
        parse_topology("v9z:4x4")


@pytest.mark.parametrize("text", ["v6e:0", "v6e:4x0", "v6e:999999x999999"])
def test_numbers_of_chips_have_bounds(text):
    with pytest.raises(SettingsError, match="it must have 1 to 16384"):
        parse_topology(text)


def test_figures_match_the_data_sheets():
    # Dense bfloat16 TFLOP/s, GB, GB/s
    assert {
        device.name: (device.peak_flops / 1e12, device.memory_bytes / 1e9, device.bandwidth / 1e9) for device in DEVICES
    } == {
        "h100": (989.4, 80, 3350),
        "h200": (989.4, 141, 4800),
        "a100": (312, 80, 2039),
        "b200": (2250, 180, 8000),
        "v4": (275, 32, 1228),
        "v5e": (197, 16, 819),
        "v5p": (459, 95, 2765),
        "v6e": (918, 32, 1640),
    }


def test_no_two_devices_share_a_name_and_all_have_a_price():
    names = [device.name for device in DEVICES]
    kinds = [kind for device in DEVICES for kind in device.jax_kinds]
    assert len(set(names)) == len(names)
    assert len(set(kinds)) == len(kinds)
    assert all(1 <= device.usd_per_hour <= 10 for device in DEVICES)


def test_local_chips_are_found_by_their_jax_kind(monkeypatch):
    class Chip:
        device_kind = "TPU v6 lite"

    monkeypatch.setattr(devices.jax, "devices", lambda: [Chip()] * 4)
    assert (local_topology().device.name, local_topology().num_chips) == ("v6e", 4)


def test_a_cpu_is_no_accelerator():
    with pytest.raises(SettingsError, match=f"JAX sees {jax.device_count()} x 'cpu' here.*--topology=v6e:4x4"):
        local_topology()
