import numpy as np
import pytest

from soar_jax.evaluation.diversity import distinct_share, repetition_penalties, vendi_score


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
