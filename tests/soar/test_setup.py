"""The accuracy that chooses among promoted students."""

import dataclasses

import numpy as np
import pytest

from soar_jax.evaluation.hard_subset import HardSplit, SealedProblems
from soar_jax.problems import arithmetic
from soar_jax.soar.setup import selection_accuracy, validation_accuracy


class CountingEvaluator:
    """Every second problem is solved in all samples; lists problems and draws."""

    def __init__(self):
        self.calls = []

    def count_correct(self, weights, problems, draw, num_students=0):
        self.calls.append((problems, draw))
        counts = np.arange(len(problems)) % 2 * draw.num_samples
        return np.tile(counts, (num_students, 1)) if num_students else counts


@pytest.fixture
def setup(nano_setup):
    return dataclasses.replace(nano_setup, evaluator=CountingEvaluator())


@pytest.fixture
def problems():
    return tuple(arithmetic.generate_problems(np.random.default_rng(0), (4, 5), 9))


def test_greedy_answers_to_hard_train_choose_without_validation(setup, problems):
    split = HardSplit(train=problems[:5], validation=(), test=SealedProblems(problems[5:]))
    assert selection_accuracy(setup, "weights", split) == 0.4
    ((asked, draw),) = setup.evaluator.calls
    assert asked == problems[:5]
    assert (draw.settings.temperature, draw.num_samples) == (0.0, 1)


def test_a_validation_set_chooses_by_its_samples(setup, problems):
    split = HardSplit(train=problems[:2], validation=problems[2:5], test=SealedProblems(problems[5:]))
    assert selection_accuracy(setup, "weights", split) == float(validation_accuracy(setup, "weights", split)) == 1 / 3
    evaluation = setup.config.evaluation
    for asked, draw in setup.evaluator.calls:
        assert asked == problems[2:5]
        assert (draw.settings.temperature, draw.num_samples) == (evaluation.temperature, evaluation.validation_samples)
    np.testing.assert_array_equal(validation_accuracy(setup, "weights", split, num_students=2), [1 / 3] * 2)
