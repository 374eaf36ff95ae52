"""Matrix products with float32 results, whose gradients are products in the operands' dtype."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def float32_product(subscripts: str, x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Computes an einsum of two arrays of one dtype, with a float32 result.

    The gradient of a plain einsum would multiply the float32 cotangent with float32 copies of the arrays. Here the
    cotangent is rounded to their dtype first: exactly, where the result was rounded to it too.
    """
    return jnp.einsum(subscripts, x, matrix, preferred_element_type=jnp.float32)


@functools.partial(float32_product.defjvp, symbolic_zeros=True)
def _float32_product_jvp(
    subscripts: str, primals: tuple[jax.Array, jax.Array], tangents: tuple[Any, Any]
) -> tuple[jax.Array, Any]:
    (x, matrix), (dx, dmatrix) = primals, tangents
    terms = [] if isinstance(dx, SymbolicZero) else [jnp.einsum(subscripts, dx, matrix)]
    terms += [] if isinstance(dmatrix, SymbolicZero) else [jnp.einsum(subscripts, x, dmatrix)]
    return float32_product(subscripts, x, matrix), sum(terms[1:], start=terms[0]).astype(jnp.float32)
