"""Random keys by name: every draw is a pure function of (seed, stream, indices).

No generator state is carried between steps, so a resumed run draws the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

_MOST_NUMBERS = 8  # of a key: its name's checksum and its indices, padded to this many for one program


def stream_key(seed: int, stream: str, *indices: int) -> jax.Array:
    """JAX key of a named draw, e.g. `stream_key(0, "teacher_sample", outer_step)`."""
    numbers = (zlib.crc32(stream.encode()), *indices)
    assert len(numbers) <= _MOST_NUMBERS, f"{stream} has {len(indices)} indices"
    padded = np.zeros(_MOST_NUMBERS, np.uint32)
    padded[: len(numbers)] = numbers
    return _folded(np.uint32(seed), padded, np.int32(len(numbers)))


@functools.partial(jax.jit, static_argnames=("first", "end", "sharding"))
def split_key(key: jax.Array, *, first: int, end: int, sharding: jax.sharding.Sharding) -> jax.Array:
    """Keys `first` to `end` of those that a key is split into, laid out: [end - first]."""
    return jax.lax.with_sharding_constraint(jax.random.split(key, end)[first:], sharding)


@jax.jit
def _folded(seed: np.uint32, numbers: np.ndarray, count: np.int32) -> jax.Array:
    """The key of a seed with the first `count` numbers folded in, one after another."""

    def fold_in(index: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.fold_in(key, jnp.asarray(numbers)[index])

    return jax.lax.fori_loop(0, count, fold_in, jax.random.key(seed))


def stream_generator(seed: int, stream: str, *indices: int) -> np.random.Generator:
    """NumPy generator of a named draw on the host, independent of `stream_key`."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), len(indices), *indices])
