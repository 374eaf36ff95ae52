import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.config.policy_sections import LoRASection
from soar_jax.model import parameters
from soar_jax.model.lora import LAYERS, FrozenBase, init_adapters
from soar_jax.sampling import sharded
from soar_jax.sampling.sampler import SamplingSettings
from soar_jax.types import PromptBatch

SETTINGS = SamplingSettings(max_completion_tokens=20, temperature=1.0, top_p=1.0, stop_ids=(1,), pad_id=0)
STUDENTS, SAMPLES = 4, 3


@pytest.fixture(scope="module")
def prompts():
    return PromptBatch(tokens=np.array([[5, 3, 7, 2], [4, 8, 0, 0]], np.int32), lengths=np.array([4, 2], np.int32))


@pytest.fixture(scope="module")
def students(tiny_params):
    return jax.tree.map(lambda leaf: jnp.stack([leaf * (1 + 0.1 * n) for n in range(STUDENTS)]), tiny_params)


@pytest.mark.slow
@pytest.mark.parametrize("scans_decoding", [False, True])
def test_batch_and_slots_change_no_draw_of_adapters(mesh, tiny_model, prompts, scans_decoding):
    tiny_model = dataclasses.replace(tiny_model, num_layers=5, scans_decoding=scans_decoding)
    tiny_params = parameters.init_params(tiny_model, jax.random.key(0))
    lora_config = LoRASection(rank=2, scale=1.0, layers=LAYERS)
    one = init_adapters(lora_config, tiny_model, jax.random.key(1))
    shaken = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(2), (STUDENTS, *leaf.shape)), one)
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * STUDENTS), prompts)
    inputs = {"frozen_base": FrozenBase(tiny_params, jnp.float32(1.0)), "prompts": stacked, "first_prompt": 0}
    inputs["keys"] = jax.random.split(jax.random.key(0), STUDENTS)
    options = {"mesh": mesh, "model": tiny_model, "settings": SETTINGS, "samples_per_prompt": SAMPLES}
    found = [
        sharded.sample_population(shaken, **inputs, population_batch=batch, max_slots=slots, **options)
        for batch, slots in ((1, 64), (2, 2))
    ]
    np.testing.assert_array_equal(found[0].tokens, found[1].tokens)
    assert len({np.asarray(tokens).tobytes() for tokens in found[0].tokens}) == STUDENTS


@pytest.mark.slow
def test_two_calls_draw_the_same_as_one(mesh, tiny_model, students, prompts):
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * STUDENTS), prompts)
    options = {"mesh": mesh, "model": tiny_model, "settings": SETTINGS, "samples_per_prompt": SAMPLES, "max_slots": 4}
    keys = jax.random.split(jax.random.key(0), STUDENTS)
    once = sharded.sample_population(
        students, None, prompts=stacked, keys=keys, first_prompt=0, population_batch=1, **options
    )
    for first in (0, 1):
        prompt = PromptBatch(tokens=stacked.tokens[:, first : first + 1], lengths=stacked.lengths[:, first : first + 1])
        found = sharded.sample_population(
            students, None, prompts=prompt, keys=keys, first_prompt=first, population_batch=1, **options
        )
        np.testing.assert_array_equal(found.tokens, once.tokens[:, first * SAMPLES : (first + 1) * SAMPLES])


@pytest.mark.slow
def test_population_batch_changes_no_draw_of_students(mesh, tiny_model, students, prompts):
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * STUDENTS), prompts)
    options = {"mesh": mesh, "model": tiny_model, "settings": SETTINGS, "samples_per_prompt": SAMPLES, "max_slots": 2}
    keys = jax.random.split(jax.random.key(0), STUDENTS)
    one, two = (
        sharded.sample_population(
            students, None, prompts=stacked, keys=keys, first_prompt=0, population_batch=batch, **options
        )
        for batch in (1, 2)
    )
    np.testing.assert_array_equal(one.tokens, two.tokens)
    assert len({np.asarray(tokens).tobytes() for tokens in one.tokens}) == STUDENTS
    for index in range(STUDENTS):
        policy = jax.tree.map(lambda leaf, index=index: leaf[index], students)
        alone = sharded.sample_policy(policy, None, prompts=prompts, key=keys[index], first_prompt=0, **options)
        np.testing.assert_array_equal(one.tokens[index], alone.tokens)


@pytest.mark.slow
@pytest.mark.parametrize("population_batch", [1, 2])
def test_one_more_policy_draws_as_a_student_of_equal_weights(mesh, tiny_model, students, prompts, population_batch):
    """In bfloat16, on two shards of the population: the last policy is student 0, and draws as with the others."""
    stacked = jax.tree.map(lambda leaf: np.stack([leaf] * STUDENTS), prompts)
    options = {"mesh": mesh, "model": dataclasses.replace(tiny_model, dtype="bfloat16"), "settings": SETTINGS}
    options |= {"samples_per_prompt": SAMPLES, "max_slots": 4, "population_batch": population_batch}
    keys = jnp.stack([jax.random.key(3)] * STUDENTS)
    first = jax.tree.map(lambda leaf: leaf[0], students)
    found = sharded.sample_population(students, None, stacked, keys, 0, first, **options)
    expected = sharded.sample_population(students, None, stacked, keys, 0, **options)
    for name in ("tokens", "lengths", "sampler_logprobs"):
        rows, others = np.asarray(getattr(found, name)), np.asarray(getattr(expected, name))
        assert rows.shape[0] == STUDENTS + 1
        np.testing.assert_array_equal(rows[:-1], others)
        np.testing.assert_array_equal(rows[-1], others[0])
    assert len({np.asarray(tokens).tobytes() for tokens in found.tokens}) == STUDENTS
