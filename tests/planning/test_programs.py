"""What a device holds, against a run's arrays as they are made."""

import jax
import ml_collections
import pytest

from configs import hard_only, intrinsic_teacher, serl
from configs.soar_math import get_config
from soar_jax import parallel
from soar_jax.checkpoints import known_shapes
from soar_jax.planning.programs import RunShapes, held_by_a_device, held_text
from soar_jax.rl.population import init_population
from soar_jax.runs import build as setups
from soar_jax.runs.memory import bytes_a_device
from soar_jax.runs.mesh_fit import most_devices, students_at_once
from soar_jax.settings import SettingsError
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


@pytest.mark.parametrize(
    ("method", "there", "missing"),
    [
        (serl, {"students' questions", "students' votes", "updating students", "judging questions"}, {"taking"}),
        (hard_only, {"students' answers", "testing students", "testing a policy"}, {"students' votes", "measuring"}),
        (intrinsic_teacher, {"answering questions", "updating the teacher"}, {"measuring", "students' votes"}),
    ],
)
def test_every_program_of_a_method_is_there_and_can_be_lowered(method, there, missing):
    config = method.get_config()
    config.analysis.judge = "self_consistency"
    model = known_shapes.shape_of(config.model.source, config.model.dtype)
    programs = list(RunShapes(config, model, parallel.make_mesh(1, devices=jax.devices()[:1])).programs())
    names = {program.name for program in programs}
    assert there <= names
    assert not any(name.startswith(part) for name in names for part in missing)
    for program in programs:
        if program.name in there:
            program.lower()


@pytest.mark.parametrize("fixed", ["population", "window"])
def test_models_that_are_one_are_counted_once(fixed):
    config = hard_only.get_config() if fixed == "population" else get_config()
    if fixed == "window":
        config.promotion.student = "step_best"
    model = known_shapes.shape_of(config.model.source, config.model.dtype)
    names = set(RunShapes(config, model, parallel.make_mesh(1, devices=jax.devices()[:1])).state())
    students = {"baseline student", "best student"} if fixed == "window" else set()
    assert names == {"base policy", "teacher", "teacher's optimiser"} | students


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (3, 2), (4, 4), (6, 4), (16, 4), (0, 1)])
def test_a_share_of_the_cores_is_one_that_divides_the_students(limit, expected):
    assert most_devices(get_config(), limit) == expected


def test_tests_are_planned_at_their_largest_call():
    config = hard_only.get_config()
    config.evaluation.update(num_samples=4, validation_samples=8, problems_per_call=16)
    config.hard_subset.update(num_samples=128, samples_per_round=32)
    model = known_shapes.shape_of(config.model.source, config.model.dtype)
    shapes = RunShapes(config, model, parallel.make_mesh(1, devices=jax.devices()[:1]))
    flops = {program.name: program.flops for program in shapes.programs()}
    config.evaluation.num_samples = config.evaluation.validation_samples = 32
    larger = RunShapes(config, model, shapes.mesh)
    more = {program.name: program.flops for program in larger.programs()}
    assert more["testing a policy"] == flops["testing a policy"]
    assert more["testing students"] > flops["testing students"]
