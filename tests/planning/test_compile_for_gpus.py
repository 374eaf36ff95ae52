"""Compiles programs of nano for GPUs on a machine that has none."""

import importlib.util

import jax
import pytest

from soar_jax.checkpoints import known_shapes
from soar_jax.errors import SettingsError
from soar_jax.planning import compile_check, target_devices
from soar_jax.runs.programs import Program, RunPrograms
from soar_jax.telemetry.devices import H100
from tests.configs import make_config

needs_cuda_plugin = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None, reason="needs the package jax-cuda13-plugin"
)


@pytest.fixture(autouse=True)
def no_compilation_cache():
    """As in the program: what was compiled for a GPU cannot be read back without one."""
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def abstract_run(**changes):
    device, devices = target_devices.topology_devices("h100:2")
    config = make_config(**changes).for_platform(device.platform)
    model = known_shapes.shape_of(config.model.source, config.model.dtype)
    return compile_check.abstract_run(config, model, device, devices), device


@needs_cuda_plugin
@pytest.mark.parametrize("name", ["updating students", "measuring students"])
def test_a_program_of_nano_compiles_and_fits(name):
    run, device = abstract_run()
    (found,) = compile_check.compile_all(run, device, only=name)
    assert found.fits
    students = sum(run.population().values()) if "updating" in name else run.population()["students"]
    assert found.arguments > students
    assert found.peak > found.arguments


@needs_cuda_plugin
def test_a_bfloat16_update_attends_by_cudnn(monkeypatch):
    """The frozen base stays in bfloat16."""
    # JAX asks only for the version of cuDNN, which need not be installed: its kernels are made on the GPU.
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91200)
    run, device = abstract_run(**{"model.dtype": "bfloat16", "lora.rank": 4})
    program = next(program for program in RunPrograms(run).programs() if program.name == "updating students")
    text = compile_check.compile_program(program, device).as_text()
    assert "__cudnn$fmhaScaleBiasSoftmaxBackward" in text
    for name in ("gate", "up", "down"):
        stacked = run.policies.frozen_base().params["layers"][name].shape
        for shape in (stacked, stacked[1:]):
            written = ",".join(map(str, shape))
            assert f"f32[{written}]" not in text, name
        assert f"bf16[{','.join(map(str, stacked))}]" in text


def test_without_cudnn_one_line_says_what_to_do(monkeypatch):
    def lower():
        raise RuntimeError("cuDNN not found.")

    program = Program(name="updating students", lower=lower, inputs=(), population=(), flops=0.0)
    with pytest.raises(SettingsError, match=r"only where cuDNN is installed: .*--config\.model\.attention=plain"):
        compile_check.compile_program(program, H100)
