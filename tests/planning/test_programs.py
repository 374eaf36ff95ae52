"""What a device holds, against a run's arrays as they are made."""

import ml_collections
import pytest

from configs.soar_math import get_config
from soar_jax.planning.memory import bytes_a_device
from soar_jax.planning.programs import RunShapes, held_by_a_device, held_text
from soar_jax.planning.shares import students_at_once
from soar_jax.rl.population import init_population
from soar_jax.settings import SettingsError
from soar_jax.soar import setup as setups
from soar_jax.soar.state import initial_arrays


@pytest.mark.parametrize("rank", [0, 4])
def test_shapes_hold_as_much_as_the_runs_arrays(rank):
    config = get_config()
    config.lora.rank = rank
    config.mesh.update(population=1, fsdp=2)
    setup = setups.build(ml_collections.FrozenConfigDict(config))
    shapes = RunShapes(config, setup.sampler.model, setup.mesh)
    arrays = initial_arrays(setup)
    shared = (setup.sampler.frozen, setup.start)
    assert sum(shapes.state().values()) == bytes_a_device(arrays) + bytes_a_device(shared)
    students = init_population(
        setup.start, mesh=setup.mesh, model=setup.sampler.model, optimizer=setup.student.optimizer, size=8
    )
    assert sum(shapes.population().values()) == bytes_a_device(students)
    held = held_by_a_device(config, setup.sampler.model, setup.mesh)
    assert held["parameters"] + held["optimiser"] == bytes_a_device((arrays, shared))
    assert held["population"] == bytes_a_device(students)
    rows, slots, numbers_a_slot = 64, 2 * 15 + 40 - 1, 2 * 3 * 4 * 24  # keys and values, layers, heads, their size
    assert held["cache"] == rows * slots * numbers_a_slot * 4
    assert "mesh: population 1 x data 1 x fsdp 2 x tensor 1\n" in held_text(config, setup.sampler.model, setup.mesh)


def test_waves_hold_one_student_more_and_divide_the_population():
    config = get_config()
    config.outer.update(num_datasets=4, students_per_dataset=2)
    assert students_at_once(config) == 8
    config.inner.students_at_once = 4
    assert students_at_once(config) == 4
    for wrong in (-2, 1, 3, 6, 16):
        config.inner.students_at_once = wrong
        with pytest.raises(SettingsError, match=f"inner.students_at_once is {wrong}; it must be 0"):
            students_at_once(config)
