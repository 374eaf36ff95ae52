import dataclasses

import pytest

from soar_jax.errors import SettingsError
from soar_jax.registry import EXTENSION_POINTS, FactRegistry, Registry, registry


@pytest.fixture
def colours():
    colours = Registry("colour")
    colours.register("red")(1)
    colours.register("blue")(2)
    return colours


def test_a_registry_maps_names_to_entries(colours):
    assert dict(colours) == {"red": 1, "blue": 2}
    assert colours["red"] == 1
    assert len(colours) == 2
    assert "blue" in colours
    assert "green" not in colours


def test_the_decorator_returns_its_entry(colours):
    @colours.register("green")
    def green():
        return 3

    assert green() == colours["green"]() == 3


def test_a_name_is_registered_once(colours):
    with pytest.raises(SettingsError, match=r"^colour: 'red' is registered twice; choose another name$"):
        colours.register("red")(3)
    assert colours["red"] == 1


def test_entries_of_a_block_are_forgotten_behind_it(colours):
    with colours.temporarily(red=3, green=4):
        colours.register("white")(5)
        assert dict(colours) == {"red": 3, "blue": 2, "green": 4, "white": 5}
    assert dict(colours) == {"red": 1, "blue": 2}


@pytest.mark.parametrize("read", [lambda colours, name: colours[name], lambda colours, name: colours.get(name)])
def test_an_unknown_name_lists_the_names(colours, read):
    """It raises even with `get`: a name that does not exist never means a default."""
    with pytest.raises(SettingsError, match=r"^colour is 'green'; choose one of red, blue$"):
        read(colours, "green")


@pytest.mark.parametrize("key", EXTENSION_POINTS)
def test_every_extension_point_is_a_registry_of_its_key(key):
    found = registry(key)
    assert found.key == key
    assert len(found) > 0
    with pytest.raises(SettingsError, match=f"{key} is 'nothing'; choose one of {next(iter(found))}"):
        found["nothing"]


@dataclasses.dataclass(frozen=True)
class Shade:
    """A function and a fact about it."""

    mix: object
    _: dataclasses.KW_ONLY
    is_dark: bool = False


def test_a_function_is_registered_with_its_facts():
    shades = FactRegistry("shade", Shade)
    assert shades.register("night", is_dark=True)(max) is max
    shades.register("noon")(min)
    assert dict(shades) == {"night": Shade(max, is_dark=True), "noon": Shade(min)}
    with pytest.raises(SettingsError, match=r"^shade: 'noon' is registered twice; choose another name$"):
        shades.register("noon")(max)
    with pytest.raises(TypeError, match="is_blue"):
        shades.register("sea", is_blue=True)(max)
