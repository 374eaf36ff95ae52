"""The compile check through the command line."""

import importlib.util
import json

import pytest

from tests.experiments.runs import finish, run_program

MESH = [f"--config.mesh.{axis}=2" for axis in ("population", "fsdp", "tensor")]
needs_cuda_plugin = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None, reason="needs the package jax-cuda13-plugin"
)
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`")


@pytest.fixture
def check(launch):
    def run(*arguments):
        return finish(launch("compile_check", "--config=configs/soar_math.py", *MESH, *arguments))

    return run


@pytest.mark.slow
@needs_libtpu
def test_a_program_that_fits_is_a_json_line_and_exit_0(check):
    code, out, err = check("--topology=v6e:2x4", "--json", "--only=copying")
    assert code == 0, err
    (line,) = map(json.loads, out.splitlines())
    assert line["program"] == "copying the baseline student"
    assert line["fits"] is True
    assert line["advice"] is None
    assert line["capacity"] == 32e9
    assert line["needed"] == sum(line[kind] for kind in ("arguments", "outputs", "temporaries", "code")) + sum(
        line["beside"].values()
    )
    assert "mesh: population 2 x data 1 x fsdp 2 x tensor 2" in err


@pytest.mark.slow
@needs_cuda_plugin
def test_a_program_for_gpus_comes_with_what_a_gpu_would_change(check):
    code, out, err = check("--topology=h100:8", "--json", "--only=copying")
    assert code == 0, err
    (line,) = map(json.loads, out.splitlines())
    assert (line["fits"], line["capacity"]) == (True, 80e9)
    assert "Compiled without a GPU and without autotuning." in err
    assert "MEM_FRACTION" not in err  # so little fits in what JAX takes by itself


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--topology=v6e:3x5",), "libtpu cannot make topology 'v6e:3x5'"),
        (
            ("--topology=v6e:2x4", "--config.outer.students_per_dataset=1", "--config.outer.num_datasets=3"),
            "students_per_dataset is 3",
        ),
    ],
)
def test_what_cannot_be_compiled_is_one_line_and_exit_2(check, arguments, message):
    code, out, err = check(*arguments)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line


def test_a_topology_is_asked_for():
    code, _, err = run_program("compile_check", "--config=configs/soar_math.py", *MESH)
    assert code == 2
    assert "--topology is missing" in err
