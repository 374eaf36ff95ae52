"""Populations of the embedded model, trained for a few steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.grading.grader import Verdict
from soar_jax.runs.build import build
from soar_jax.soar.inner_loop import EpisodePlan, draw_order, train_population
from soar_jax.soar.shown_answers import Pick
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
    states, _ = train_population(setup, setup.base_weights, (questions,) * 2, plan=plan)
    distances = jax.tree.map(lambda new, old: float(jnp.sum((new[0] - old) ** 2)), states.weights, setup.base_weights)
    (count,) = {int(leaf[0]) for leaf in jax.tree.leaves(states.opt_state) if leaf.dtype == jnp.int32}
    return sum(jax.tree.leaves(distances)), count


@pytest.mark.slow
def test_a_kl_penalty_keeps_students_near_their_start(nano_model, questions):
    often = {"updates_per_batch": 3, "clip_ratio": 0.2, "learning_rate": 1e-3}
    free, updates = moved(questions, nano_model, **often)
    held, _ = moved(questions, nano_model, kl_coef=10.0, **often)
    once, fewer = moved(questions, nano_model, learning_rate=1e-3)
    assert (updates, fewer) == (6, 2)  # of two inner steps
    assert 0 < held < 0.8 * free
    assert once < free


@pytest.mark.slow
def test_students_without_signal_do_not_move(setup, questions):
    nonsense = (QuestionAnswer(question="sum 1 2 3 . . . . . . . .", answer="no such answer"),)
    states, episode = train_population(setup, setup.base_weights, (questions, (), nonsense, questions), plan=TEST)
    distances = jax.tree.map(
        lambda new, old: np.abs(np.asarray(new) - np.asarray(old)[None]).reshape(4, -1).max(axis=1),
        states.weights,
        setup.base_weights,
    )
    largest = np.max(jax.tree.leaves(distances), axis=0)
    assert (largest > 0).tolist() == [True, False, False, True]
    assert [asked.sum() for asked in episode.stats.asked] == [128, 128, 128, 128]
    assert episode.stats.agreed[0].sum() > 0
    assert episode.stats.agreed[1].sum() == episode.stats.agreed[2].sum() == 0
    np.testing.assert_allclose(episode.mean_rewards[:, 0].mean(), episode.stats.agreed[0].sum() / 128)
    np.testing.assert_allclose(episode.right_shares, episode.mean_rewards)  # this reward is 1 or 0


@pytest.mark.slow
def test_each_step_has_its_learning_rate(setup, questions):
    def weights(*rates):
        plan = dataclasses.replace(TEST, learning_rates=rates)
        return train_population(setup, setup.base_weights, (questions,) * 2, plan=plan)[0].weights

    still, moved = weights(0.0, 0.0), weights(0.0, 1e-3)
    jax.tree.map(lambda new, old: np.testing.assert_array_equal(new[0], old), still, setup.base_weights)
    assert any(
        (new[0] != old).any() for new, old in zip(*map(jax.tree.leaves, (moved, setup.base_weights)), strict=True)
    )


def test_an_episode_is_a_function_of_its_name(setup, questions):
    first, again, other = (
        jax.device_get(
            train_population(
                setup, setup.base_weights, (questions, questions), plan=dataclasses.replace(TEST, indices=(step,))
            )[0].weights
        )
        for step in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))


def test_an_episode_has_indicators_of_each_step_and_student(setup, questions):
    """The second student has no questions, the third no right answer: of these there is nothing to compare."""
    nonsense = (QuestionAnswer(question="sum 1 2 3 . . . . . . . .", answer="no such answer"),)
    reports = []
    sets = (questions, (), nonsense, questions)
    _, episode = train_population(setup, setup.base_weights, sets, plan=TEST, report=lambda *step: reports.append(step))
    found = episode.indicators
    assert {values.shape for values in found.values()} == {(2, 4)}
    has_answers, has_update = [True, False, True, True], [True, False, False, True]
    for name in ("entropy_estimate", "truncated_share", "completion_tokens", "signal_share"):
        assert (~np.isnan(found[name])).all(axis=0).tolist() == has_answers
    for name in ("grad_norm", "mismatch", "mismatch_kl", "ratio_within_0.001", "ratio_within_0.05"):
        assert (~np.isnan(found[name])).all(axis=0).tolist() == has_update
    assert "reference_kl" not in found
    np.testing.assert_array_equal(found["signal_share"][:, 2], 0)
    assert (found["entropy_estimate"][:, 0] > 0).all()
    assert (found["ratio_within_0.001"][:, 0] > 0.99).all()  # the sampler's arithmetic is the trainer's
    assert reports == [
        (1, pytest.approx(episode.mean_rewards[0].mean())),
        (2, pytest.approx(episode.mean_rewards[1].mean())),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["k3_in_loss", "k1_in_reward"])
def test_the_divergence_to_the_start_grows_from_zero(nano_model, questions, how):
    changes = {"student.kl": how, "student.kl_coef": 0.01, "student.learning_rate": 3e-3}
    setup = build(make_config(**SHORT, **changes), nano_model)
    plan = dataclasses.replace(TEST, learning_rates=(3e-3,) * 2)
    _, episode = train_population(setup, setup.base_weights, (questions,) * 2, plan=plan)
    kl = episode.indicators["reference_kl"]
    np.testing.assert_allclose(kl[0], 0, atol=1e-5)
    assert (kl[1] > 1e-4).all()


def test_picked_answers_are_kept_wherever_their_student_is(setup, questions):
    """Of a wave that begins with the fifth student."""
    picks = tuple(
        Pick(step=step, student=student, row=row) for step in (0, 1) for student in (4, 5, 6) for row in (0, 63)
    )
    plan = dataclasses.replace(TEST, first_student=4, shown=picks)
    _, episode = train_population(setup, setup.base_weights, (questions, questions[:1]), plan=plan)
    assert [answer.pick for answer in episode.shown] == [pick for pick in picks if pick.student < 6]
    assert {answer.asked for answer in episode.shown if answer.pick.student == 5} == {questions[0]}
    for answer in episode.shown:
        (verdict,) = setup.grader.grade([answer.completion], [answer.asked.answer])
        assert (answer.verdict, answer.answer) == (verdict, setup.grader.answer(answer.completion))
        assert answer.reward == (verdict is Verdict.CORRECT)
        assert answer.advantage * (answer.reward - 0.5) >= 0
