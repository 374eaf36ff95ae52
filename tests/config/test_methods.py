"""Registered methods at all scales, and the files of `configs/`."""

import importlib.util

import pytest

from soar_jax.config import METHODS, method_config, read_config, scale_names
from soar_jax.config.cross_rules import check_whole_run
from soar_jax.config.method_file import get_config
from soar_jax.errors import SettingsError
from tests.conftest import ROOT

FILES = {path.stem: path for path in (ROOT / "configs").glob("*.py")}
NO_METHODS = {"__init__", "pretrain_nano"}


@pytest.mark.parametrize("scale", scale_names())
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_is_accepted_at_every_scale(method, scale):
    config = read_config(method_config(method, scale))
    check_whole_run(config)
    assert (config.method, config.scale) == (method, scale)


def test_every_method_has_a_file():
    assert FILES.keys() - NO_METHODS == set(METHODS)


@pytest.mark.parametrize("name", sorted(FILES.keys() - NO_METHODS))
def test_file_equals_its_method(name):
    spec = importlib.util.spec_from_file_location(f"config_of_{name}", FILES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.get_config().to_dict() == method_config(name).to_dict()
    for scale in scale_names():
        assert module.get_config(scale).to_dict() == method_config(name, scale).to_dict()
    assert f"python experiments/run.py --config=configs/{name}.py" in module.__doc__


@pytest.mark.parametrize("name", ["soar_math", "soar_math:nano", "soar_math:"])
def test_method_is_found_by_its_name_on_the_command_line(name):
    assert get_config(name).to_dict() == method_config("soar_math", "nano").to_dict()


def test_unknown_method_is_one_line_with_those_there_are():
    with pytest.raises(SettingsError, match=r"^method is 'sour_math'; choose one of soar_math, [^\n]*curated$"):
        method_config("sour_math")


def test_method_of_ones_own_is_registered_once(monkeypatch):
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS.items()))  # private, so that the entry goes with the test

    @METHODS.register("mine")
    def mine(config):
        config.inner.num_steps = 5

    assert read_config(method_config("mine")).inner.num_steps == 5
    with pytest.raises(SettingsError, match="method: 'mine' is registered twice; choose another name"):
        METHODS.register("mine")(mine)
