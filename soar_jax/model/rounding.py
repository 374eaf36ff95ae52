"""Rounds float32 parameters to bfloat16 with a fixed dither, so that small training steps are not lost.

Trained parameters are float32; programs compute with them in the model's dtype. bfloat16 values of size 0.02 are 1.2e-4
apart, and a checkpoint's weights are such values. Ten Adam steps of learning rate 1e-6 move a weight by at most about
1e-5, so rounding to nearest returns the checkpoint again. Rounded with a dither, each weight goes up with the
probability of its position between its two neighbours, so the rounded weights move by the right amount on average over
the weights.

The dither of a weight is a hash of its parameter's name, layer and index. It depends on nothing else: all programs,
meshes and processes round a policy to the same values, and values that are bfloat16 already stay as they are.
"""

from __future__ import annotations

import functools
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from soar_jax.model.parameters import Params

_KEPT_BITS = np.uint32(0xFFFF0000)  # of a float32; a bfloat16 is its upper half
_LAYER_STEP = np.uint32(0x9E3779B9)  # odd: all layers of a parameter have different seeds
_BLOCK = 2**18  # weights that NumPy rounds at once, so that temporaries stay in the cache


def cast_params(params: Params, dtype: Any, layer: jax.Array | int | None = None) -> Params:
    """Casts a policy's weights, or those of one layer, to the compute dtype; its gradient is that of a plain cast.

    Args:
      params: a pytree as `parameter_table` or of adapters, with stacked layers; or one of its layers.
      dtype: float32 parameters are rounded to bfloat16 with a dither, others are cast.
      layer: index of the layer, where `params` are one.
    """

    def cast(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if layer is None and name.startswith("layers."):
            return round_stacked(leaf, dtype, name.removeprefix("layers."), layers=jnp.arange(len(leaf)))
        return round_stacked(leaf, dtype, name, layers=0 if layer is None else layer)

    return jax.tree_util.tree_map_with_path(cast, params)


def round_stacked(x: jax.Array, dtype: Any, name: str, *, layers: jax.Array | int) -> jax.Array:
    """Casts one parameter: float32 to bfloat16 with its dither, all else as `astype` does.

    Args:
      x: [*layers.shape, ...].
      name: of the parameter, the same for all layers.
      layers: indices of the layers: [L], or [] where x is of one layer or of none (index 0).
    """
    if x.dtype == jnp.float32 and jnp.dtype(dtype) == jnp.bfloat16:
        return _to_bfloat16(x, name, jnp.asarray(layers, jnp.uint32))
    return x if x.dtype == dtype else x.astype(dtype)


@functools.partial(jax.jit, static_argnames=("name",), inline=True)
def _to_bfloat16(x: jax.Array, name: str, layers: jax.Array) -> jax.Array:
    seed = _seed(name, layers.reshape(*layers.shape, *(1,) * (x.ndim - layers.ndim)))
    index, stride = seed, 1  # added first: an index without a layer would be kept in memory while layers are scanned
    for axis in range(x.ndim - 1, layers.ndim - 1, -1):
        # Of the logical shape, so that the compiler shards the dither as the parameter.
        position = jnp.arange(x.shape[axis], dtype=jnp.uint32) * np.uint32(stride)
        index = index + position.reshape(-1, *(1,) * (x.ndim - 1 - axis))
        stride *= x.shape[axis]
    return _round(x, _dither(index, seed))


@jax.custom_jvp
def _round(x: jax.Array, dither: jax.Array) -> jax.Array:
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    rounded = jax.lax.bitcast_convert_type((bits + dither) & _KEPT_BITS, jnp.float32)
    return jnp.where(jnp.isnan(x), x, rounded).astype(jnp.bfloat16)  # of a NaN, the sum may have another exponent


@_round.defjvp
def _round_jvp(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, Any]) -> tuple[jax.Array, jax.Array]:
    return _round(*primals), tangents[0].astype(jnp.bfloat16)


def round_arrays(params: Params, dtype: Any) -> Params:
    """Computes `cast_params` of a complete model in NumPy, with temporaries for a block of weights only."""

    def cast(path: Any, leaf: np.ndarray) -> np.ndarray:
        name, shape = path[-1].key, leaf.shape[len(path) - 1 :]
        options = {"name": name, "shape": shape, "part": (slice(None),) * len(shape)}
        if len(path) == 1:
            return round_array(leaf, dtype, layer=0, **options)
        return np.stack([round_array(one, dtype, layer=layer, **options) for layer, one in enumerate(leaf)])

    return jax.tree_util.tree_map_with_path(cast, params)


def round_array(
    x: np.ndarray, dtype: Any, name: str, layer: int, shape: tuple[int, ...], part: tuple[slice, ...]
) -> np.ndarray:
    """Computes `round_stacked` in NumPy, for one layer's parameter or a part of it.

    Args:
      x: the part, as `parameter[part]`.
      shape: of the complete parameter, without layers.
      layer: 0 where the parameter is in no layer.
    """
    if np.dtype(dtype) != ml_dtypes.bfloat16 or x.dtype == ml_dtypes.bfloat16:
        return x.astype(dtype)
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    positions = [
        np.arange(size, dtype=np.uint32)[own] * np.uint32(stride)
        for size, own, stride in zip(shape, part, strides, strict=True)
    ]
    seed = _seed(name, np.array([layer], np.uint32))
    rounded = np.empty(x.shape, dtype)
    num_rows = max(1, _BLOCK // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), num_rows):
        rows = slice(start, start + num_rows)
        index = sum(np.ix_(positions[0][rows], *positions[1:]), start=seed)
        block = np.asarray(x[rows], np.float32)
        bits = (block.view(np.uint32) + _dither(index, seed)) & _KEPT_BITS
        rounded[rows] = np.where(np.isnan(block), block, bits.view(np.float32)).astype(dtype)
    return rounded


def _seed(name: str, layers: Any) -> Any:
    seed = _scramble(layers * _LAYER_STEP + np.uint32(zlib.crc32(name.encode())), np.uint32(0))
    return seed ^ (seed >> 16)


def _dither(index: Any, seed: Any) -> Any:
    """Hashes indices plus their seed, uint32 arrays of NumPy or JAX, to 16 bits.

    The hash is the finaliser of MurmurHash3 (https://github.com/aappleby/smhasher), up to its last step, which changes
    the lower half only. The seed enters twice: entered once, it would give all parameters one dither, shifted.
    """
    return _scramble(index, seed) >> 16


def _scramble(x: Any, seed: Any) -> Any:
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B) + seed
    return (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
