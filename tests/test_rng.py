import itertools

import jax
import numpy as np

from soar_jax.rng import stream_generator, stream_key


def test_equal_names_give_equal_keys_and_other_names_others():
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", 0, 0), (0, "a", 0, 1)]
    keys = [tuple(jax.random.key_data(stream_key(*name)).tolist()) for name in names]
    assert keys == [tuple(jax.random.key_data(stream_key(*name)).tolist()) for name in names]
    assert all(a != b for a, b in itertools.combinations(keys, 2))


def test_generators_are_named_alike():
    assert stream_generator(0, "a", 3).random() == stream_generator(0, "a", 3).random()
    others = [(), (0,), (0, 0), (3,), (4,)]
    assert len({stream_generator(0, "a", *indices).random() for indices in others}) == len(others)
    assert np.unique([stream_generator(seed, "a").random() for seed in range(20)]).size == 20
