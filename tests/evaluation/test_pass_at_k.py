import itertools

import numpy as np
import pytest

from soar_jax.evaluation.pass_at_k import pass_at_k, summarize


def test_hand_computed_values():
    # 2 correct of 4: pass@1 = 1/2; pass@2 = 1 - C(2,2)/C(4,2) = 5/6; pass@3 = 1
    counts = np.array([2])
    assert pass_at_k(counts, 4, 1)[0] == pytest.approx(0.5)
    assert pass_at_k(counts, 4, 2)[0] == pytest.approx(5 / 6)
    assert pass_at_k(counts, 4, 3)[0] == 1.0


@pytest.mark.parametrize(("right", "samples", "k"), [(0, 5, 3), (1, 6, 2), (3, 7, 4), (7, 7, 7)])
def test_equals_the_fraction_of_subsets_with_a_correct_one(right, samples, k):
    outcomes = [True] * right + [False] * (samples - right)
    hits = [any(subset) for subset in itertools.combinations(outcomes, k)]
    assert pass_at_k(np.array([right]), samples, k)[0] == pytest.approx(np.mean(hits))


def test_large_counts_do_not_overflow():
    assert pass_at_k(np.array([1]), 100_000, 50_000)[0] == pytest.approx(0.5)


def test_k_above_the_number_of_samples_is_refused():
    with pytest.raises(ValueError, match="pass@8 needs at least 8"):
        pass_at_k(np.array([1]), 4, 8)


def test_summary_averages_over_problems():
    table = summarize(np.array([0, 4]), 4, (1, 4))
    assert table == {"pass@1": 0.5, "pass@4": 0.5, "num_problems": 2}
