"""How many rows a device decodes at once, by its memory."""

import dataclasses

import pytest

from soar_jax import parallel
from soar_jax.checkpoints import known_shapes
from soar_jax.runs.memory import cache_bytes_per_row, fitting_slots, with_slots
from soar_jax.telemetry import costs
from tests.configs import make_config

MODEL = known_shapes.shape_of("meta-llama/Llama-3.2-3B-Instruct", "bfloat16")
CONFIG = make_config(scale="llama3.2-3b")


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
    assert fitting_slots(CONFIG, MODEL, needed + 1e6, 5e9) == num_slots
    assert fitting_slots(CONFIG, MODEL, needed - 1e6, 5e9) == max(8, num_slots // 2)


def test_slots_have_a_least_and_a_most():
    assert fitting_slots(CONFIG, MODEL, 1e9, 5e9) == 8
    assert fitting_slots(CONFIG, MODEL, 1e15, 5e9) == 256


def test_students_at_once_share_the_memory():
    batched = dataclasses.replace(CONFIG, sampling=dataclasses.replace(CONFIG.sampling, population_batch=4))
    assert fitting_slots(batched, MODEL, 80e9, 5e9) < fitting_slots(CONFIG, MODEL, 80e9, 5e9)


def test_a_number_in_the_config_stands(nano_model):
    mesh = parallel.make_mesh(1)
    assert with_slots(make_config(), nano_model.config, mesh, 1e12).sampling.max_slots == 64
    free = make_config(**{"sampling.max_slots": 0, "mesh.population": 1})
    assert with_slots(free, nano_model.config, mesh, None).sampling.max_slots == 64  # a CPU
    assert with_slots(free, nano_model.config, mesh, 1e12).sampling.max_slots == 256
    assert with_slots(free, nano_model.config, mesh, 1e6).sampling.max_slots == 8
    assert with_slots(free, nano_model.config, mesh, 1e6, trains=False).sampling.max_slots == 8
