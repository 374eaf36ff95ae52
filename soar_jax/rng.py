"""Random keys by name: every draw is a pure function of (seed, stream, indices).

No generator state is carried between steps, so a resumed run draws the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import functools
import zlib

import jax
import numpy as np


def stream_key(seed: int, stream: str, *indices: int) -> jax.Array:
    """JAX key of a named draw, e.g. `stream_key(0, "teacher_sample", outer_step)`."""
    return _folded(*map(np.uint32, (seed, zlib.crc32(stream.encode()), *indices)))


@functools.partial(jax.jit, static_argnames=("first", "end", "sharding"))
def split_key(key: jax.Array, *, first: int, end: int, sharding: jax.sharding.Sharding) -> jax.Array:
    """Keys `first` to `end` of those that a key is split into, laid out: [end - first]."""
    return jax.lax.with_sharding_constraint(jax.random.split(key, end)[first:], sharding)


@jax.jit
def _folded(seed: np.uint32, *numbers: np.uint32) -> jax.Array:
    """The key of a seed with numbers folded in, one after another; one program for each count of numbers."""
    return functools.reduce(jax.random.fold_in, numbers, jax.random.key(seed))


def stream_generator(seed: int, stream: str, *indices: int) -> np.random.Generator:
    """NumPy generator of a named draw on the host, independent of `stream_key`."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), len(indices), *indices])
