"""Questions that the embedded model sometimes answers."""

import numpy as np
import pytest

from soar_jax.problems import arithmetic
from soar_jax.types import QuestionAnswer


@pytest.fixture(scope="session")
def make_questions():
    """Makes questions of the arithmetic world, of some level, with their true answers."""

    def make(count, level, seed=0):
        rng = np.random.default_rng(seed)
        dials = [arithmetic.random_dial(rng, level) for _ in range(count)]
        return tuple(QuestionAnswer(question=dial.text(), answer=arithmetic.spell(dial.states()[-1])) for dial in dials)

    return make
