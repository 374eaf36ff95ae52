"""A run's abstract programs and memory, against its arrays as they are made."""

import jax
import pytest

from soar_jax import parallel
from soar_jax.checkpoints import known_shapes
from soar_jax.rl.population import init_population
from soar_jax.runs.build import build
from soar_jax.runs.memory import AbstractRun, bytes_a_device, memory_by_kind, memory_summary
from soar_jax.runs.memory_fit import fit_to_memory
from soar_jax.runs.mesh_fit import most_devices
from soar_jax.runs.programs import RunPrograms
from soar_jax.soar.state import initial_arrays
from tests.configs import make_config


def run_on_one_device(config):
    model = known_shapes.shape_of(config.model.source, config.model.dtype)
    mesh = parallel.make_mesh(1, devices=jax.devices()[:1])
    return AbstractRun(fit_to_memory(config, model, mesh, memory_bytes=None), model, mesh)


@pytest.mark.parametrize("rank", [0, 4])
def test_abstract_run_takes_the_memory_of_the_runs_arrays(rank):
    setup = build(make_config(**{"lora.rank": rank, "mesh.population": 1, "mesh.fsdp": 2}))
    config = setup.config
    run = AbstractRun(config, setup.sampler.model, setup.mesh)
    arrays = initial_arrays(setup)
    shared = (setup.sampler.frozen_base, setup.base_weights)
    assert sum(run.state().values()) == bytes_a_device(arrays) + bytes_a_device(shared)
    students = init_population(
        setup.base_weights, mesh=setup.mesh, model=setup.sampler.model, optimizer=setup.student.optimizer, size=16
    )
    assert sum(run.population().values()) == bytes_a_device(students)
    held = memory_by_kind(config, setup.sampler.model, setup.mesh)
    assert held["parameters"] + held["optimiser"] == bytes_a_device((arrays, shared))
    assert held["population"] == bytes_a_device(students)
    rows, slots, numbers_a_slot = 64, 2 * 15 + 40 - 1, 2 * 3 * 4 * 24  # keys and values, layers, heads, their size
    assert held["cache"] == rows * slots * numbers_a_slot * 4
    assert "mesh: population 1 x data 1 x fsdp 2 x tensor 1\n" in memory_summary(
        config, setup.sampler.model, setup.mesh
    )


def test_waves_keep_one_student_more():
    shape = {"outer.num_datasets": 4, "outer.students_per_dataset": 2}
    full = run_on_one_device(make_config(**shape)).population()
    waves = run_on_one_device(make_config(**shape, **{"inner.students_at_once": 4})).population()
    assert full.keys() == {"students", "students' optimisers"}
    assert waves == {
        "students": full["students"] // 2,
        "students' optimisers": waves["students' optimisers"],
        "best student so far": full["students"] // 8,
    }
    assert waves["students' optimisers"] == pytest.approx(full["students' optimisers"] / 2, rel=0.01)


@pytest.mark.parametrize(
    ("method", "there", "missing"),
    [
        ("serl", {"students' questions", "students' votes", "updating students", "judging questions"}, {"taking"}),
        ("hard_only", {"students' answers", "testing students", "testing a policy"}, {"students' votes", "measuring"}),
        ("intrinsic_teacher", {"answering questions", "updating the teacher"}, {"measuring", "students' votes"}),
    ],
)
def test_methods_have_their_programs_which_can_be_lowered(method, there, missing):
    config = make_config(method, **{"analysis.judge": "self_consistency"})
    programs = list(RunPrograms(run_on_one_device(config)).programs())
    names = {program.name for program in programs}
    assert there <= names
    assert not any(name.startswith(part) for name in names for part in missing)
    for program in programs:
        if program.name in there:
            program.lower()


@pytest.mark.parametrize(
    ("method", "changes", "students"),
    [
        ("hard_only", {}, set()),  # students start from the base policy
        (
            "inference",
            {"source_run": "a workdir", "promotion.student": "step_best"},
            {"baseline student", "best student"},
        ),
        ("soar_math", {"promotion.student": "step_best"}, {"baseline student", "best student"}),
    ],
)
def test_policies_that_are_one_are_counted_once(method, changes, students):
    state = run_on_one_device(make_config(method, **changes)).state()
    assert state.keys() == {"base policy", "teacher", "teacher's optimiser"} | students


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (3, 2), (4, 4), (6, 4), (16, 4), (0, 1)])
def test_number_of_devices_divides_the_students(limit, expected):
    assert most_devices(make_config(), limit) == expected


def test_evaluations_are_planned_at_their_largest_call():
    def flops(**samples):
        config = make_config(
            "hard_only",
            **{"evaluation.pass_at": (1,), "evaluation.problems_per_call": 16, "hard_subset.samples_per_round": 32},
            **{f"evaluation.{name}": value for name, value in samples.items()},
        )
        return {program.name: program.flops for program in RunPrograms(run_on_one_device(config)).programs()}

    few, more = flops(num_samples=4, validation_samples=8), flops(num_samples=32, validation_samples=32)
    assert more["testing a policy"] == few["testing a policy"]
    assert more["testing students"] > few["testing students"]


def test_trained_students_have_no_optimiser_any_more():
    alive = {program.name: program.population for program in RunPrograms(run_on_one_device(make_config())).programs()}
    assert alive["measuring students"] == alive["taking the best student"] == ("students",)
    assert alive["updating students"] == alive["testing students"] == ("students", "students' optimisers")
    assert alive["writing questions"] == ()


@pytest.mark.parametrize("kl", ["k3_in_loss", "k1_in_reward"])
@pytest.mark.parametrize("rank", [0, 2])
def test_kl_keeps_no_second_whole_model_in_memory(rank, kl):
    changes = {"lora.rank": rank, "teacher.kl": kl, "student.kl": kl, "outer.num_datasets": 2}
    without, runs = (
        run_on_one_device(make_config(**changes | {"teacher.kl_coef": coef, "student.kl_coef": coef}))
        for coef in (0.0, 0.1)
    )
    assert runs.state() == without.state()  # the reference is a policy that is there anyway
    inputs = {program.name: program.inputs for program in RunPrograms(runs).programs()}
    assert "base policy" in inputs["the teacher's reference"]
    assert "base policy" not in inputs["updating the teacher"]
    if rank:  # the base policy is adapters, beside the frozen base that all policies share
        assert bytes_a_device(runs.policies.weights()) < bytes_a_device(runs.policies.frozen_base()) / 5
        assert runs.state()["base policy"] == bytes_a_device(runs.policies.weights())


def test_programs_of_kl_in_the_reward_can_be_lowered():
    changes = {
        f"{name}.{key}": value
        for name in ("student", "teacher")
        for key, value in (("kl_coef", 0.1), ("kl", "k1_in_reward"))
    }
    programs = {program.name: program for program in RunPrograms(run_on_one_device(make_config(**changes))).programs()}
    for name, has_population in (("students' reference", True), ("the teacher's reference", False)):
        program = programs[name]
        assert bool(program.population) == has_population
        assert 0 < program.flops < programs["updating students" if has_population else "updating the teacher"].flops
        program.lower()
