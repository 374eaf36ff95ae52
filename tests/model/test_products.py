import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.model import decoder
from soar_jax.model.lora import LoRALinear
from soar_jax.model.products import float32_product


def operands(dtype):
    keys = jax.random.split(jax.random.key(0), 4)
    x, weight = jax.random.normal(keys[0], (2, 8, 64)), jax.random.normal(keys[1], (64, 48)) / 8
    a, b = jax.random.normal(keys[2], (64, 4)) / 8, 0.02 * jax.random.normal(keys[3], (4, 48))
    return tuple(leaf.astype(dtype) for leaf in (x, weight, a, b))


def adapted(x, weight, a, b):
    # Private: the one place where a base's and an adapter's products are added.
    return decoder._dense(x, {"gate": LoRALinear(weight, a, b)}, "gate")


def exactly(*leaves):
    return (np.asarray(leaf, np.float64) for leaf in leaves)


def test_an_adapters_sum_is_rounded_once():
    inputs = operands(jnp.bfloat16)
    x, weight, a, b = exactly(*inputs)
    expected = x @ weight + (x @ a) @ b
    step = 2.0 ** (np.floor(np.log2(np.abs(expected))) - 7)  # of bfloat16
    once = np.asarray(adapted(*inputs), np.float64)
    twice = np.asarray(inputs[0] @ inputs[1] + (inputs[0] @ inputs[2]) @ inputs[3], np.float64)
    large = np.abs(expected) > 0.5  # there the rounding of x @ a is a small part of a step
    assert np.max(np.abs(once - expected)[large] / step[large]) < 0.55
    assert np.max(np.abs(twice - expected)[large] / step[large]) > 0.65


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_is_that_of_a_float64_reference(dtype):
    inputs = operands(jnp.dtype(dtype))
    x, weight, a, b = exactly(*inputs)
    cotangent = jax.random.normal(jax.random.key(9), (2, 8, 48)).astype(dtype)
    found = jax.vjp(adapted, *inputs)[1](cotangent)
    g, flat = np.asarray(cotangent, np.float64).reshape(16, 48), x.reshape(16, 64)
    expected = (g @ weight.T + g @ b.T @ a.T, flat.T @ g, flat.T @ (g @ b.T), (flat @ a).T @ g)
    tolerance = 1e-6 if dtype == "float32" else 1e-2
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        ours = np.asarray(ours, np.float64).reshape(theirs.shape)
        assert np.linalg.norm(ours - theirs) < tolerance * np.linalg.norm(theirs)


def products(jaxpr):
    """All dot_general equations of a jaxpr."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.parametrize("frozen", [True, False])
def test_no_product_has_a_float32_copy_of_a_bfloat16_array(frozen):
    x, weight, a, b = operands(jnp.bfloat16)

    def loss(x, weight, a, b):
        return jnp.sum(adapted(x, weight, a, b).astype(jnp.float32) ** 2)

    wanted = (0, 2, 3) if frozen else (0, 1, 2, 3)
    found = list(products(jax.make_jaxpr(jax.grad(loss, wanted))(x, weight, a, b).jaxpr))
    assert len(found) == (8 if frozen else 9)  # three forward, two for each of their gradients but a frozen weight's
    assert {str(operand.aval.dtype) for equation in found for operand in equation.invars} == {"bfloat16"}


def test_students_and_checkpoints_have_the_same_gradient():
    x, weight, _, _ = operands(jnp.bfloat16)
    many = jnp.stack([weight, 2 * weight])

    def loss(weight):
        return jnp.sum(float32_product("bti,io->bto", x, weight) ** 2)

    expected = jnp.stack([jax.grad(loss)(one) for one in many])
    np.testing.assert_array_equal(jax.vmap(jax.grad(loss))(many), expected)
    np.testing.assert_array_equal(jax.vmap(jax.grad(jax.checkpoint(loss)))(many), expected)
