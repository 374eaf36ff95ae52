"""Random keys by name: every draw is a pure function of (seed, stream, indices).

Nothing carries a generator from step to step, so a resumed run draws what the
uninterrupted one would have drawn.
"""

from __future__ import annotations

import zlib

import jax
import numpy as np


def stream_key(seed: int, stream: str, *indices: int) -> jax.Array:
    """The JAX key of one named draw, e.g. `stream_key(0, "teacher_sample", outer_step)`."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    for index in indices:
        key = jax.random.fold_in(key, index)
    return key


def stream_generator(seed: int, stream: str, *indices: int) -> np.random.Generator:
    """The NumPy generator of one named host-side draw, independent of `stream_key`'s."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), len(indices), *indices])
