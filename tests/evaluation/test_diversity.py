import numpy as np
import pytest

from soar_jax.evaluation.diversity import (
    bootstrapped_vendi_score,
    distinct_share,
    mean_cosine_distance,
    repetition_penalties,
    vendi_score,
)


def test_vendi_score_counts_different_vectors():
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.ones((7, 3))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3)
    assert vendi_score(np.zeros((0, 3))) == 0


def test_vendi_score_ignores_norms_and_accepts_zero_vectors():
    vectors = np.random.default_rng(0).normal(size=(20, 5))
    lengths = np.linspace(0.1, 9, 20)[:, None]
    assert vendi_score(vectors * lengths) == pytest.approx(vendi_score(vectors))
    assert vendi_score(np.zeros((4, 3))) == pytest.approx(4)


def test_vendi_score_of_two_vectors_matches_the_formula():
    angle = 0.7
    vectors = np.array([[1, 0], [np.cos(angle), np.sin(angle)]])
    shares = np.array([1 + np.cos(angle), 1 - np.cos(angle)]) / 2
    assert vendi_score(vectors) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_distinct_share_normalises_whitespace():
    assert distinct_share(["a b", "a  b ", "a c", "a d"]) == 0.75
    assert distinct_share([]) == 0


def test_repetition_penalty_is_the_relative_cluster_size():
    same = ["dial 3 1 4 rotate complement"] * 3
    other = ["largest of 9 8 7 please now"]
    np.testing.assert_allclose(repetition_penalties([*same, *other]), [0.75, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(repetition_penalties(["alone"]), [1.0])
    assert repetition_penalties([]).shape == (0,)


def test_repetition_penalty_of_very_long_texts_is_fast():
    penalties = repetition_penalties(["a " * 100_000, "b " * 100_000])
    np.testing.assert_allclose(penalties, [0.5, 0.5])


def test_bootstrap_brings_sets_to_one_size():
    vectors = np.random.default_rng(1).normal(size=(400, 256))
    half = vectors[:200]
    scores = [
        bootstrapped_vendi_score(part, size=32, num_draws=200, generator=np.random.default_rng(2))[0]
        for part in (vectors, half)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=0.05)  # except for rows that are drawn twice
    assert vendi_score(vectors) > 1.2 * vendi_score(half)


def test_bootstrap_draws_with_replacement_and_is_deterministic():
    first, second = (
        bootstrapped_vendi_score(np.eye(5), size=20, num_draws=50, generator=np.random.default_rng(3)) for _ in range(2)
    )
    assert first == second
    mean, sd = first
    assert 4 < mean < 5  # 20 of 5 rows: nearly all of them are drawn, not equally often
    assert sd > 0


def test_bootstrap_of_equal_rows_has_no_spread():
    draws = np.random.default_rng(0)
    assert bootstrapped_vendi_score(np.ones((3, 2)), 8, 5, draws) == (pytest.approx(1), pytest.approx(0))
    assert bootstrapped_vendi_score(np.zeros((1, 2)), 8, 5, draws) == (pytest.approx(1), pytest.approx(0))
    assert bootstrapped_vendi_score(np.zeros((0, 2)), 8, 5, draws) == (0, 0)


def test_mean_cosine_distance_is_that_of_all_pairs():
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = [1 - unit[a] @ unit[b] for a in range(6) for b in range(6) if a != b]
    assert mean_cosine_distance(vectors) == pytest.approx(np.mean(distances))
    assert mean_cosine_distance(np.ones((3, 2))) == pytest.approx(0)
    assert mean_cosine_distance(np.array([[1.0, 0], [0, 0], [1, 0]])) == pytest.approx(2 / 3)
    assert mean_cosine_distance(np.ones((1, 2))) == mean_cosine_distance(np.zeros((0, 2))) == 0
