import dataclasses
import importlib.util

import jax
import pytest

from soar_jax.checkpoints import known_shapes
from soar_jax.errors import SettingsError
from soar_jax.model.parameters import num_parameters
from soar_jax.planning import compile_check, target_devices
from tests.configs import make_config

needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`")
STUDENTS = 8


def abstract_run(device, devices):
    config = make_config(**{"mesh.population": 2, "mesh.fsdp": 2, "mesh.tensor": 2})
    model = known_shapes.shape_of(config.model.source, config.model.dtype)
    return compile_check.abstract_run(config, model, device, devices)


@pytest.mark.slow
@needs_libtpu
def test_students_update_compiles_for_an_absent_slice():
    device, devices = target_devices.topology_devices("v6e:2x4")
    run = abstract_run(device, devices)
    (found,) = compile_check.compile_all(run, device, only="updating students")
    assert found.fits
    assert found.arguments > sum(run.population().values())  # the rollouts too
    assert found.outputs < 2**20  # the students lie where they lay
    assert found.peak > found.arguments + sum(found.beside.values())
    assert "all-gather" in found.collectives  # of parameters
    assert "all-to-all" in found.collectives  # of looked-up rows, instead of the embedding
    assert found.program.flops > 6 * num_parameters(run.model) * STUDENTS * 8 * 16

    crowded = dataclasses.replace(found, capacity=found.needed - 1)
    assert not crowded.fits
    assert crowded.largest == max(
        (("arguments", found.arguments), ("temporaries", found.temporaries)), key=lambda item: item[1]
    )
    one_big = dataclasses.replace(found, temporaries=10**12)
    assert one_big.largest == ("temporaries", 10**12)
    assert "rows_per_micro_batch" in one_big.advice


def test_a_program_that_jaxlib_cannot_read_is_one_line():
    """A newer compiler may write instructions that jaxlib does not know."""

    class Compiled:
        def as_text(self):
            raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure: async-update\n(a source)")

    with pytest.raises(SettingsError, match=r"cannot read .*async-update\); .* install them together: pip install"):
        compile_check._text(Compiled())  # private: no program of this compiler has such text
