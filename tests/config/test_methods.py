"""Registered methods at all scales, and the files of `configs/`."""

import importlib.util

import pytest

from soar_jax.config import METHODS, method_config, read_config, scale_names
from soar_jax.config.cross_rules import UNSET, check_whole_run
from soar_jax.config.method_file import get_config
from soar_jax.config.scales import BENCHMARKS
from soar_jax.errors import SettingsError
from tests.conftest import ROOT

FILES = {path.stem: path for path in (ROOT / "configs").glob("*.py")}
NO_METHODS = {"__init__", "pretrain_nano"}


SCALES = [*scale_names(), *(f"llama3.2-3b:{benchmark}" for benchmark in BENCHMARKS)]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"two_turn_teacher"}))
def test_every_method_is_accepted_at_every_scale(method, scale):
    values = method_config(method, scale)
    if values.source_run == UNSET:
        values.source_run = "runs/soar"
    config = read_config(values)
    check_whole_run(config)
    assert (config.method, config.scale) == (method, scale)


def test_two_turns_are_for_models_that_write_boxed_tags():
    read_config(method_config("two_turn_teacher", "llama3.2-3b"))
    with pytest.raises(SettingsError, match="'after_equals'"):
        read_config(method_config("two_turn_teacher", "nano"))


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
    with pytest.raises(SettingsError) as refused:
        method_config("sour_math")
    assert str(refused.value) == f"method is 'sour_math'; choose one of {', '.join(METHODS)}"


def test_method_of_ones_own_is_registered_once():
    def mine(config):
        config.inner.num_steps = 5

    with METHODS.temporarily():
        METHODS.register("mine")(mine)
        assert read_config(method_config("mine")).inner.num_steps == 5
        with pytest.raises(SettingsError, match="method: 'mine' is registered twice; choose another name"):
            METHODS.register("mine")(mine)
