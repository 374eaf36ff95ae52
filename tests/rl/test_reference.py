"""Log-probabilities under the reference policy, and its compiled programs."""

import dataclasses

import jax
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.config.policy_sections import LoRASection, StudentSection
from soar_jax.model import lora
from soar_jax.model.lora import FrozenBase
from soar_jax.rl.losses import LossSettings, policy_logprobs
from soar_jax.rl.policy import policy_settings
from soar_jax.rl.population import policy_reference_logprobs, population_reference_logprobs
from soar_jax.rl.reference import reference_logprobs
from soar_jax.sampling.sampler import SamplingSettings, sample
from soar_jax.types import PromptBatch, map_rows

LOSS = LossSettings(temperature=0.8, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=5)


@pytest.fixture(scope="module")
def rollouts(tiny_model, tiny_params):
    prompts = PromptBatch(tokens=np.array([[5, 3, 7, 2], [4, 8, 0, 0]], np.int32), lengths=np.array([4, 2], np.int32))
    settings = SamplingSettings(max_completion_tokens=5, temperature=0.8, top_p=1.0, stop_ids=(1,), pad_id=0)
    return sample(
        tiny_params, prompts, key=jax.random.key(0), model=tiny_model, settings=settings, samples_per_prompt=3
    )


def row_by_row(reference, model, rollouts):
    """Log-probabilities from the whole batch at its limit, and 0 after each completion."""
    logprobs = policy_logprobs(reference, model, rollouts, temperature=0.8, chunk_tokens=1000)
    return np.where(np.arange(5) < np.asarray(rollouts.lengths)[:, None], logprobs, 0)


@pytest.mark.parametrize("buckets", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(64, marks=pytest.mark.slow)])
def test_micro_batches_and_buckets_change_no_logprob(tiny_model, tiny_params, rollouts, rows, buckets):
    reference = jax.tree.map(lambda leaf: leaf * 1.3, tiny_params)
    settings = dataclasses.replace(LOSS, completion_buckets=buckets)
    evaluate = jax.jit(reference_logprobs, static_argnames=("model", "settings", "rows_per_micro_batch"))
    found = evaluate(reference, tiny_model, rollouts, settings=settings, rows_per_micro_batch=rows)
    expected = row_by_row(reference, tiny_model, rollouts)
    assert len(set(np.asarray(rollouts.lengths).tolist())) > 1
    np.testing.assert_allclose(found, expected, atol=2e-5)
    same = evaluate(tiny_params, tiny_model, rollouts, settings=settings, rows_per_micro_batch=rows)
    np.testing.assert_allclose(same, np.where(expected != 0, rollouts.sampler_logprobs, 0), atol=2e-5)


@pytest.mark.slow
def test_programs_of_a_policy_and_of_a_population_give_the_same(tiny_model, tiny_params, rollouts):
    reference = jax.tree.map(lambda leaf: leaf * 1.3, tiny_params)
    expected = row_by_row(reference, tiny_model, rollouts)
    options = {"model": tiny_model, "loss": LOSS, "rows_per_micro_batch": 2}
    halves = map_rows(lambda leaf: np.asarray(leaf).reshape(2, 3, *leaf.shape[1:]), rollouts)
    prompts = jax.tree.map(lambda leaf: leaf[:, None], rollouts.prompts)  # a half has the rows of one
    halves = halves.replace(prompts=prompts, prompt_of=np.zeros((2, 3), np.int32))
    for size in (1, 2):
        mesh = parallel.make_mesh(size)
        frozen, whole = parallel.replicate(mesh, reference), parallel.replicate(mesh, rollouts)
        alone = policy_reference_logprobs(whole, frozen, None, mesh=mesh, **options)
        np.testing.assert_allclose(alone, expected, atol=2e-5)
        halves = parallel.shard_population(mesh, halves)
        students = population_reference_logprobs(halves, frozen, None, mesh=mesh, **options)
        np.testing.assert_allclose(students, np.reshape(expected, (2, 3, 5)), atol=2e-5)


@pytest.mark.parametrize(
    ("kl", "coef", "in_loss"), [("k3_in_loss", 0.3, 0.3), ("k1_in_reward", 0.3, 0), ("k3_in_loss", 0, 0)]
)
def test_loss_has_a_kl_term_only_where_it_is_not_in_the_reward(tiny_model, kl, coef, in_loss):
    section = StudentSection(kl=kl, kl_coef=coef)
    assert policy_settings(section, None, tiny_model).loss.kl_coef == in_loss
    assert section.kl_in_reward == (kl == "k1_in_reward")


def test_reference_of_adapters_is_the_base_itself(tiny_model, tiny_params, rollouts):
    """Adapters as they start change nothing, so that base and adapters are the base model."""
    settings = LoRASection(rank=2, scale=2.0)
    adapters = lora.init_adapters(settings, tiny_model, jax.random.key(1))
    frozen_base = FrozenBase(tiny_params, np.float32(2.0))
    options = {"mesh": parallel.make_mesh(1), "model": tiny_model, "loss": LOSS, "rows_per_micro_batch": 2}
    found = policy_reference_logprobs(rollouts, adapters, frozen_base, **options)
    np.testing.assert_allclose(found, policy_reference_logprobs(rollouts, tiny_params, None, **options), atol=1e-6)
