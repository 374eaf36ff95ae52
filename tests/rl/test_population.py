"""Programs of a population: taking a student out of it, and the share of the weights that an episode has changed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.checkpoints import known_shapes
from soar_jax.config.policy_sections import LoRASection
from soar_jax.model import layout
from soar_jax.model.lora import init_adapters
from soar_jax.model.parameters import init_params, map_table, parameter_table
from soar_jax.rl.population import changed_shares, take_student

STUDENTS = 4


@pytest.fixture
def students(tiny_model):
    """Weights [P, ...] of different students, with numbers that a sum of floats would change."""
    each = [init_params(tiny_model, jax.random.key(number)) for number in range(STUDENTS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    stacked["final_norm"] = stacked["final_norm"].at[:, 0].set(-0.0).at[:, 1].set(jnp.nan).at[0, 2].set(jnp.inf)
    return stacked


@pytest.mark.parametrize("axes", [{"population": 1}, {"population": 2}, {"population": 1, "fsdp": 2}])
def test_a_student_is_taken_out_of_its_shard_bit_by_bit(tiny_model, students, axes):
    mesh = parallel.make_mesh(**axes)
    placed = jax.device_put(students, layout.shardings(mesh, tiny_model, weights=students, num_stacked=1))
    for index in range(STUDENTS):
        taken = take_student(placed, index, mesh=mesh, model=tiny_model)
        for found, expected in zip(jax.tree.leaves(taken), jax.tree.leaves(students), strict=True):
            np.testing.assert_array_equal(
                np.asarray(found).view(np.uint32), np.asarray(expected[index]).view(np.uint32)
            )


def test_no_shard_gathers_the_population_to_take_a_student(tiny_model, students):
    mesh = parallel.make_mesh(2)
    placed = jax.device_put(students, layout.shardings(mesh, tiny_model, weights=students, num_stacked=1))
    text = take_student.lower(placed, 0, mesh=mesh, model=tiny_model).compile().as_text()
    assert "all-reduce" in text
    assert "all-gather" not in text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_changed_shares_are_of_the_weights_in_compute_dtype(mesh, tiny_model, tiny_params, dtype):
    """Of four students: unmoved, one matrix moved by far, all moved by a thousandth of an ulp, all by far."""
    model = dataclasses.replace(tiny_model, dtype=dtype)
    start = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32), tiny_params)
    far, near = (jax.tree.map(lambda leaf, by=by: leaf * (1 + by), start) for by in (0.1, 2.0**-18))
    one_matrix = start | {"unembedding": far["unembedding"]}
    students = jax.tree.map(lambda *leaves: jnp.stack(leaves), start, one_matrix, near, far)
    shares = changed_shares(students, start, mesh=mesh, model=model)
    size = sum(leaf.size for leaf in jax.tree.leaves(start))
    assert shares[0] == 0
    assert shares[1] == pytest.approx(start["unembedding"].size / size, rel=1e-5)
    assert shares[2] == 1 if dtype == "float32" else shares[2] < 0.01
    assert shares[3] == 1


def test_changed_shares_of_adapters(mesh, tiny_model):
    adapters = init_adapters(LoRASection(rank=2, scale=1.0), tiny_model, jax.random.key(0))
    moved = jax.tree.map(lambda leaf: leaf + 1.0, adapters)
    students = jax.tree.map(lambda *leaves: np.stack(leaves), adapters, moved)
    np.testing.assert_array_equal(changed_shares(students, adapters, mesh=mesh, model=tiny_model), [0.0, 1.0])


def test_more_weights_than_an_int32_counts_are_compared():
    model = known_shapes.shape_of("meta-llama/Llama-3.2-3B-Instruct", "bfloat16")
    start = map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, jnp.float32), parameter_table(model))
    students = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((STUDENTS, *leaf.shape), leaf.dtype), start)
    compare = functools.partial(changed_shares, mesh=parallel.make_mesh(2), model=model)
    shares = jax.eval_shape(compare, students, start)
    assert (shares.shape, shares.dtype) == ((STUDENTS,), jnp.float32)
