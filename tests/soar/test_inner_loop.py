"""The population on the embedded model, a few steps of it."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs.soar_math import get_config
from soar_jax.problems import arithmetic
from soar_jax.runs import build as setups
from soar_jax.soar.inner_loop import Curriculum, draw_order, train_population
from soar_jax.types import QuestionAnswer


@pytest.fixture(scope="module")
def setup():
    config = get_config()
    config.inner.num_steps = 2
    config.inner.questions_per_step = 4
    config.inner.group_size = 16
    return setups.build(ml_collections.FrozenConfigDict(config))


@pytest.fixture(scope="module")
def questions():
    rng = np.random.default_rng(0)
    dials = [arithmetic.random_dial(rng, 4) for _ in range(6)]
    return tuple(QuestionAnswer(question=dial.text(), answer=arithmetic.spell(dial.states()[-1])) for dial in dials)


def test_the_order_shows_every_question_before_any_again(setup):
    order = draw_order(setup, "test", indices=(0,), num_questions=6).ravel()
    assert order.shape == (8,)
    assert sorted(order[:6]) == list(range(6))
    np.testing.assert_array_equal(order, draw_order(setup, "test", indices=(0,), num_questions=6).ravel())


def test_an_episode_goes_on_where_the_one_before_ended(setup):
    episodes = [
        draw_order(setup, "test", indices=(0,), num_questions=20, first_step=first_step).ravel()
        for first_step in (0, 2, 4)
    ]
    assert sorted(np.concatenate(episodes)[:20]) == list(range(20))
    assert [len(episode) for episode in episodes] == [8, 8, 8]


def _moved(setup, questions, **student):
    """How far a student comes from where it starts, with other settings of students' updates; and its updates."""
    config = ml_collections.ConfigDict(setup.config.to_dict())
    config.student.update(student)
    other = setups.build(ml_collections.FrozenConfigDict(config))
    states = train_population(
        other, other.start, curriculum=Curriculum(questions=(questions,) * 2), stream="test", indices=(0,)
    ).states
    distances = jax.tree.map(lambda new, old: float(jnp.sum((new[0] - old) ** 2)), states.weights, other.start)
    (count,) = {int(leaf[0]) for leaf in jax.tree.leaves(states.opt_state) if leaf.dtype == jnp.int32}
    return sum(jax.tree.leaves(distances)), count


def test_a_penalty_on_leaving_the_start_keeps_students_near_it(setup, questions):
    often = {"updates_per_batch": 3, "clip_ratio": 0.2, "learning_rate": 1e-3}
    free, updates = _moved(setup, questions, **often)
    held, _ = _moved(setup, questions, kl_coef=10.0, **often)
    once, fewer = _moved(setup, questions, learning_rate=1e-3)
    assert (updates, fewer) == (6, 2)  # of two inner steps
    assert 0 < held < 0.8 * free
    assert once < free


def test_students_without_signal_stay_as_they_are_and_others_move(setup, questions):
    nonsense = (QuestionAnswer(question="sum 1 2 3 . . . . . . . .", answer="no such answer"),)
    curriculum = Curriculum(questions=(questions, (), nonsense, questions))
    episode = train_population(setup, setup.start, curriculum=curriculum, stream="test", indices=(0,))
    moved = jax.tree.map(
        lambda new, old: np.abs(np.asarray(new) - np.asarray(old)[None]).reshape(4, -1).max(axis=1),
        episode.states.weights,
        setup.start,
    )
    largest = np.max(jax.tree.leaves(moved), axis=0)
    assert (largest > 0).tolist() == [True, False, False, True]
    assert [asked.sum() for asked in episode.stats.asked] == [128, 128, 128, 128]
    assert episode.stats.agreed[0].sum() > 0
    assert episode.stats.agreed[1].sum() == episode.stats.agreed[2].sum() == 0
    np.testing.assert_allclose(episode.mean_rewards[:, 0].mean(), episode.stats.agreed[0].sum() / 128)


def test_an_episode_is_a_function_of_its_name(setup, questions):
    curriculum = Curriculum(questions=(questions, questions))
    first, again, other = (
        jax.device_get(
            train_population(setup, setup.start, curriculum=curriculum, stream="test", indices=(step,)).states.weights
        )
        for step in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))
