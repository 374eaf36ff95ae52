"""Populations of the embedded model, trained for a few steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.runs.build import build
from soar_jax.soar.inner_loop import EpisodePlan, draw_order, train_population
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

SHORT = {"inner.num_steps": 2, "inner.questions_per_step": 4, "inner.group_size": 16}
TEST = EpisodePlan(stream="test", indices=(0,), learning_rates=(3e-4,) * 2)


@pytest.fixture(scope="module")
def setup(nano_model):
    return build(make_config(**SHORT), nano_model)


@pytest.fixture(scope="module")
def questions(make_questions):
    return make_questions(6, level=4)


def test_the_order_shows_every_question_before_any_again(setup):
    order = draw_order(setup, TEST, student=0, num_questions=6).ravel()
    assert order.shape == (8,)
    assert sorted(order[:6]) == list(range(6))
    np.testing.assert_array_equal(order, draw_order(setup, TEST, student=0, num_questions=6).ravel())


def test_an_episode_continues_the_order_of_earlier_ones(setup):
    episodes = [
        draw_order(
            setup,
            dataclasses.replace(TEST, indices=(earlier,), order_indices=(0,), steps_before=2 * earlier),
            student=0,
            num_questions=20,
        ).ravel()
        for earlier in (0, 1, 2)
    ]
    assert sorted(np.concatenate(episodes)[:20]) == list(range(20))
    assert [len(episode) for episode in episodes] == [8, 8, 8]


def moved(questions, nano_model, **student):
    """How far a student's weights come from their start, squared, and its number of updates."""
    setup = build(make_config(**SHORT, **{f"student.{key}": value for key, value in student.items()}), nano_model)
    plan = dataclasses.replace(TEST, learning_rates=(setup.config.student.learning_rate,) * 2)
    states = train_population(setup, setup.base_weights, (questions,) * 2, plan).states
    distances = jax.tree.map(lambda new, old: float(jnp.sum((new[0] - old) ** 2)), states.weights, setup.base_weights)
    (count,) = {int(leaf[0]) for leaf in jax.tree.leaves(states.opt_state) if leaf.dtype == jnp.int32}
    return sum(jax.tree.leaves(distances)), count


def test_a_kl_penalty_keeps_students_near_their_start(nano_model, questions):
    often = {"updates_per_batch": 3, "clip_ratio": 0.2, "learning_rate": 1e-3}
    free, updates = moved(questions, nano_model, **often)
    held, _ = moved(questions, nano_model, kl_coef=10.0, **often)
    once, fewer = moved(questions, nano_model, learning_rate=1e-3)
    assert (updates, fewer) == (6, 2)  # of two inner steps
    assert 0 < held < 0.8 * free
    assert once < free


def test_students_without_signal_do_not_move(setup, questions):
    nonsense = (QuestionAnswer(question="sum 1 2 3 . . . . . . . .", answer="no such answer"),)
    episode = train_population(setup, setup.base_weights, (questions, (), nonsense, questions), TEST)
    distances = jax.tree.map(
        lambda new, old: np.abs(np.asarray(new) - np.asarray(old)[None]).reshape(4, -1).max(axis=1),
        episode.states.weights,
        setup.base_weights,
    )
    largest = np.max(jax.tree.leaves(distances), axis=0)
    assert (largest > 0).tolist() == [True, False, False, True]
    assert [asked.sum() for asked in episode.stats.asked] == [128, 128, 128, 128]
    assert episode.stats.agreed[0].sum() > 0
    assert episode.stats.agreed[1].sum() == episode.stats.agreed[2].sum() == 0
    np.testing.assert_allclose(episode.mean_rewards[:, 0].mean(), episode.stats.agreed[0].sum() / 128)
    np.testing.assert_allclose(episode.right_shares, episode.mean_rewards)  # this reward is 1 or 0


def test_each_step_has_its_learning_rate(setup, questions):
    def weights(*rates):
        plan = dataclasses.replace(TEST, learning_rates=rates)
        return train_population(setup, setup.base_weights, (questions,) * 2, plan).states.weights

    still, moved = weights(0.0, 0.0), weights(0.0, 1e-3)
    jax.tree.map(lambda new, old: np.testing.assert_array_equal(new[0], old), still, setup.base_weights)
    assert any(
        (new[0] != old).any() for new, old in zip(*map(jax.tree.leaves, (moved, setup.base_weights)), strict=True)
    )


def test_an_episode_is_a_function_of_its_name(setup, questions):
    first, again, other = (
        jax.device_get(
            train_population(
                setup, setup.base_weights, (questions, questions), dataclasses.replace(TEST, indices=(step,))
            ).states.weights
        )
        for step in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))
