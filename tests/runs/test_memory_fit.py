"""What devices decode at once and recompute, by their memory."""

import dataclasses

import pytest

from soar_jax import parallel
from soar_jax.checkpoints import known_shapes
from soar_jax.runs.memory import AbstractRun, cache_bytes_per_row
from soar_jax.runs.memory_fit import fit_to_memory, fitting_slots, kept_bytes
from soar_jax.telemetry import costs
from tests.configs import make_config

MODEL = known_shapes.shape_of("meta-llama/Llama-3.2-3B-Instruct", "bfloat16")
CONFIG = dataclasses.replace(
    make_config(scale="llama3.2-3b"), sampling=dataclasses.replace(make_config().sampling, population_batch=1)
)
ADAPTERS = dataclasses.replace(CONFIG, lora=dataclasses.replace(CONFIG.lora, rank=32))
MESH = parallel.abstract_mesh(16, population=4, fsdp=-1, tensor=2)


def with_batch(config, batch):
    return dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, population_batch=batch))


def test_a_row_has_its_prompt_twice_and_its_completion():
    config = dataclasses.replace(
        CONFIG,
        prompts=dataclasses.replace(CONFIG.prompts, bucket_tokens=(10, 40)),
        student=dataclasses.replace(CONFIG.student, max_completion_tokens=100),
        teacher=dataclasses.replace(CONFIG.teacher, max_completion_tokens=70),
    )
    assert cache_bytes_per_row(config, MODEL) == (2 * 40 + 99) * costs.cache_bytes_per_token(MODEL)


@pytest.mark.parametrize("num_slots", [8, 16, 64, 256])
def test_slots_are_the_power_of_two_that_fits(num_slots):
    weights = costs.weight_bytes(MODEL)
    row = cache_bytes_per_row(CONFIG, MODEL) + 12 * MODEL.vocab_size
    needed = (5e9 + weights + num_slots * row) / 0.85
    assert fitting_slots(CONFIG, MODEL, memory_bytes=needed + 1e6, taken_bytes=5e9) == num_slots
    assert fitting_slots(CONFIG, MODEL, memory_bytes=needed - 1e6, taken_bytes=5e9) == max(8, num_slots // 2)


def test_slots_have_a_least_and_a_most():
    assert fitting_slots(CONFIG, MODEL, memory_bytes=1e9, taken_bytes=5e9) == 8
    assert fitting_slots(CONFIG, MODEL, memory_bytes=1e15, taken_bytes=5e9) == 256


def test_students_at_once_share_the_memory():
    def slots(config, batch):
        return fitting_slots(with_batch(config, batch), MODEL, memory_bytes=50e9, taken_bytes=5e9)

    assert slots(CONFIG, 4) < slots(CONFIG, 1)
    assert slots(CONFIG, 4) < slots(ADAPTERS, 4)  # which share the weights


def test_numbers_in_the_config_stand(nano_model):
    mesh = parallel.make_mesh(1)

    def slots(config, memory_bytes, **options):
        fitted = fit_to_memory(config, nano_model.config, mesh, memory_bytes=memory_bytes, **options)
        return fitted.sampling.max_slots

    assert slots(make_config(), 1e12) == 64
    free = make_config(**{"sampling.max_slots": 0, "mesh.population": 1})
    assert slots(free, None) == 64  # a CPU
    assert slots(free, 1e12) == 256
    assert slots(free, 1e6) == 8
    assert slots(free, 1e6, trains=False) == 8


def test_students_of_one_base_are_decoded_together():
    def batch(config, memory_bytes=32e9):
        return fit_to_memory(with_batch(config, 0), MODEL, MESH, memory_bytes=memory_bytes).sampling.population_batch

    assert batch(CONFIG) == 1
    assert ADAPTERS.students_at_once == 16
    assert batch(ADAPTERS) == 4  # on each of 4 shards
    assert [batch(ADAPTERS, memory_bytes=size) for size in (20e9, 12e9)] == [2, 1]  # else with few rows of each
    final_only = dataclasses.replace(ADAPTERS, num_outer_steps=0)
    assert batch(final_only) == 1  # 4 final students
    assert batch(ADAPTERS, memory_bytes=None) == 1  # a CPU


def test_products_are_kept_where_they_fit():
    run = AbstractRun(CONFIG, MODEL, MESH)
    tokens = 2 * (max(CONFIG.prompts.bucket_tokens) + CONFIG.student.max_completion_tokens)  # 4 rows over fsdp = 2
    kept = kept_bytes(run, CONFIG.student)
    assert kept == tokens * costs.product_bytes_per_token(MODEL) / 2

    held = sum(run.state().values()) + sum(run.population().values())
    gradient = run.population()["students"]
    enough = (held + gradient + 2 * kept) / 0.85
    for memory_bytes, remat in ((enough + 1e6, "dots"), (enough - 1e6, "layers"), (None, "dots")):
        assert fit_to_memory(CONFIG, MODEL, MESH, memory_bytes=memory_bytes).student.remat == remat
    chosen = dataclasses.replace(CONFIG, student=dataclasses.replace(CONFIG.student, remat="none"))
    assert fit_to_memory(chosen, MODEL, MESH, memory_bytes=enough + 1e6).student.remat == "none"
