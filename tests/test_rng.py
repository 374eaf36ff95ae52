import itertools
import zlib

import jax
import numpy as np

from soar_jax.rng import stream_generator, stream_key


def test_equal_names_give_equal_keys_and_other_names_others():
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", 0, 0), (0, "a", 0, 1)]
    keys = [tuple(jax.random.key_data(stream_key(*name)).tolist()) for name in names]
    assert keys == [tuple(jax.random.key_data(stream_key(*name)).tolist()) for name in names]
    assert all(a != b for a, b in itertools.combinations(keys, 2))


def test_a_key_is_the_seeds_with_name_and_indices_folded_in():
    for seed in (0, 7, 2**32 - 1):
        for name, indices in (("a", ()), ("teacher_sample", (3, 40))):
            key = jax.random.fold_in(jax.random.key(np.uint32(seed)), np.uint32(zlib.crc32(name.encode())))
            for index in indices:
                key = jax.random.fold_in(key, index)
            np.testing.assert_array_equal(*map(jax.random.key_data, (key, stream_key(seed, name, *indices))))
    np.testing.assert_array_equal(*map(jax.random.key_data, (jax.random.key(2**31), jax.random.key(np.uint32(2**31)))))


def test_generators_are_named_alike():
    assert stream_generator(0, "a", 3).random() == stream_generator(0, "a", 3).random()
    others = [(), (0,), (0, 0), (3,), (4,)]
    assert len({stream_generator(0, "a", *indices).random() for indices in others}) == len(others)
    assert np.unique([stream_generator(seed, "a").random() for seed in range(20)]).size == 20
