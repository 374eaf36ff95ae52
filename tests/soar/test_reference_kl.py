"""The KL divergence to the reference, with the embedded model."""

import dataclasses

import jax
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.rl.losses import policy_logprobs
from soar_jax.runs.build import build
from soar_jax.sampling.text import Draw
from soar_jax.soar.inner_loop import EpisodePlan, train_population
from soar_jax.soar.reference_kl import students_reference, subtract_students_kl, subtract_teachers_kl
from soar_jax.types import RolloutBatch, map_rows
from tests.configs import make_config

COEF = 0.5
KL = {
    f"{name}.{key}": value
    for name in ("student", "teacher")
    for key, value in (("kl", "k1_in_reward"), ("kl_coef", COEF))
}
SMALL = {"outer.num_datasets": 2, "outer.questions_per_dataset": 3, "inner.num_steps": 2}
SHORT = {"inner.questions_per_step": 2, "inner.group_size": 4}


@pytest.fixture(scope="module")
def setup(nano_model):
    return build(make_config(**KL | SMALL | SHORT), nano_model)


@pytest.fixture(scope="module")
def reference(setup):
    return jax.tree.map(lambda leaf: leaf * 1.05, setup.base_weights)


def sampled(setup, count, key=0):
    """Rollouts of the teacher's prompt, as the base model samples them at temperature 1."""
    prompts = setup.sampler.encode_prompts(["teacher"], [""])
    draw = Draw(key=jax.random.key(key), settings=setup.teacher.sampling, num_samples=count)
    return setup.sampler.sample(setup.base_weights, prompts, draw)


def divergences(reference, setup, rollouts):
    """Of each row, from the log-probabilities of the whole batch."""
    rollouts = jax.device_get(rollouts)
    logprobs = jax.jit(policy_logprobs, static_argnames=("model", "temperature", "chunk_tokens"))(
        reference, setup.sampler.model, rollouts, temperature=1.0, chunk_tokens=10_000
    )
    return np.array(
        [
            (rollouts.sampler_logprobs[row] - np.asarray(logprobs[row]))[:length].sum()
            for row, length in enumerate(rollouts.lengths)
        ]
    )


@pytest.mark.slow
def test_a_students_rewards_are_reduced_by_its_completions(setup, reference):
    rewards = np.arange(16.0).reshape(2, 2, 4)
    flat = sampled(setup, 16)
    by_student = map_rows(lambda leaf: np.asarray(leaf).reshape(2, 8, *leaf.shape[1:]), flat)
    by_student = by_student.replace(prompts=jax.tree.map(lambda leaf: np.stack([leaf] * 2), flat.prompts))
    by_student = parallel.shard_population(setup.mesh, by_student)
    found, kl = subtract_students_kl(
        setup, rewards, by_student, logprobs=students_reference(setup, by_student, reference)
    )
    expected = divergences(reference, setup, flat)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, rewards - COEF * expected.reshape(2, 2, 4), atol=1e-4)
    tokens = np.asarray(flat.lengths).reshape(2, 8).sum(axis=1)
    np.testing.assert_allclose(kl["reference_kl"], expected.reshape(2, 8).sum(axis=1) / tokens, atol=1e-5)


@pytest.mark.slow
def test_a_dataset_is_reduced_by_the_mean_of_its_pairs(setup, reference):
    moved = dataclasses.replace(setup, base_weights=reference)
    rollouts = sampled(setup, 6)
    expected = divergences(reference, setup, rollouts).reshape(2, 3)
    found, kl = subtract_teachers_kl(moved, np.array([1.0, 2.0]), rollouts)
    np.testing.assert_allclose(found, np.array([1.0, 2.0]) - COEF * expected.mean(axis=1), atol=1e-4)
    assert kl["reference_kl"] == pytest.approx(expected.sum() / int(rollouts.lengths.sum()), abs=1e-5)
    each, _ = subtract_teachers_kl(moved, np.ones((2, 3)), rollouts)
    np.testing.assert_allclose(each, 1 - COEF * expected, atol=1e-4)


@pytest.mark.slow
def test_both_turns_of_a_pair_count(setup, reference):
    section = dataclasses.replace(setup.config.teacher, turns=2)
    config = dataclasses.replace(setup.config, teacher=section)
    moved = dataclasses.replace(setup, base_weights=reference, config=config)
    rollouts = sampled(setup, 12)
    expected = divergences(reference, setup, rollouts).reshape(2, 2, 3).sum(axis=0)  # [turns, g, n] -> [g, n]
    found, _ = subtract_teachers_kl(moved, np.zeros((2, 3)), rollouts)
    np.testing.assert_allclose(found, -COEF * expected, atol=1e-4)


def test_nothing_runs_where_kl_is_not_in_the_reward(setup):
    nothing = RolloutBatch(**dict.fromkeys(field.name for field in dataclasses.fields(RolloutBatch)))
    rewards = np.zeros(2)
    in_loss = {"student.kl": "k3_in_loss", "teacher.kl": "k3_in_loss"}
    other = dataclasses.replace(setup, config=make_config(**KL | SMALL | in_loss))
    frozen = dataclasses.replace(setup, config=make_config(**KL | SMALL | {"teacher.train": False}))
    for found, kl in (
        subtract_students_kl(other, rewards, nothing, logprobs=None),
        subtract_teachers_kl(other, rewards, nothing),
        subtract_teachers_kl(frozen, rewards, nothing),
    ):
        assert found is rewards
        assert kl == {}


@pytest.mark.slow
def test_students_stay_nearer_to_their_start(setup, nano_model, make_questions):
    plan = EpisodePlan(stream="test", indices=(0,), learning_rates=(1e-3,) * 6)
    questions = (make_questions(6, level=4),) * 2

    def distance(**changes):
        own = build(make_config(**KL | SMALL | SHORT | {"inner.group_size": 16} | changes), nano_model)
        states, episode = train_population(own, own.base_weights, questions, plan=plan)
        moved = jax.tree.map(lambda new, old: float(((new[0] - old) ** 2).sum()), states.weights, own.base_weights)
        return sum(jax.tree.leaves(moved)), episode.mean_rewards

    free, _ = distance(**{"student.kl_coef": 0.0})
    held, rewards = distance(**{"student.kl_coef": 20.0})
    assert 0 < held < free
    assert ((rewards >= 0) & (rewards <= 1)).all()  # reported without KL
