import pytest

from soar_jax.config import read_config, scale_names
from soar_jax.config.run_config import RunConfig
from soar_jax.config.scales import scale_config
from soar_jax.errors import SettingsError


@pytest.mark.parametrize("scale", scale_names())
def test_scale_names_itself_and_has_every_key(scale):
    config = scale_config(scale)
    assert config.scale == scale
    made, default = read_config(config).to_dict(), RunConfig().to_dict()
    assert made.keys() == default.keys()
    for name, section in default.items():
        if isinstance(section, dict):
            assert config[name].to_dict().keys() == section.keys()


def test_llama_3b_is_the_default():
    assert read_config(scale_config("llama3.2-3b")) == read_config({"scale": "llama3.2-3b"})


@pytest.mark.parametrize(
    ("benchmark", "source", "schedule", "report_at"),
    [
        ("math", "math", "warm_start", "plateau"),
        ("harp", "harp", "mixed", "plateau"),
        ("olympiadbench", "olympiadbench", "mixed", "step"),
    ],
)
def test_benchmark_sets_problems_and_the_papers_protocol_of_them(benchmark, source, schedule, report_at):
    config = read_config(scale_config(f"llama3.2-3b:{benchmark}"))
    assert (config.problems.source, config.curriculum.schedule, config.final.report_at) == (source, schedule, report_at)


@pytest.mark.parametrize("scale", ["nano:harp", "llama3.2-3b:mmlu", "llama3.2-3b:harp:test"])
def test_unknown_benchmark_is_one_line_with_those_there_are(scale):
    with pytest.raises(SettingsError, match=r"^unknown benchmark '[^\n]*has math, harp, olympiadbench$"):
        scale_config(scale)


def test_nano_is_the_scale_without_a_name():
    assert scale_config("").to_dict() == scale_config("nano").to_dict()


def test_scales_share_nothing():
    first = scale_config("nano")
    first.outer.num_datasets = 99
    assert scale_config("nano").outer.num_datasets == 16


def test_unknown_scale_is_one_line_with_those_there_are():
    with pytest.raises(SettingsError, match=r"^unknown scale 'nanno'; choose one of nano, smollm2-135m, [^\n]*$"):
        scale_config("nanno")
