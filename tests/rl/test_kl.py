"""The KL divergence to the reference, as a part of rewards: losses.kl_to_reference and its compiled programs."""

import jax
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.config.policy_sections import LoRASection, StudentSection
from soar_jax.model import lora
from soar_jax.model.lora import FrozenBase
from soar_jax.rl.losses import LossSettings, kl_to_reference, policy_logprobs
from soar_jax.rl.policy import policy_settings
from soar_jax.rl.population import policy_kl, population_kl
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
    """The divergence of one row after another, from the log-probabilities of whole batches."""
    logprobs = policy_logprobs(reference, model, rollouts, temperature=0.8, chunk_tokens=1000)
    return [
        sum(float(rollouts.sampler_logprobs[row, slot]) - float(logprobs[row, slot]) for slot in range(length))
        for row, length in enumerate(rollouts.lengths)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_divergence_is_summed_over_the_tokens_of_a_completion(tiny_model, tiny_params, rollouts, rows):
    reference = jax.tree.map(lambda leaf: leaf * 1.3, tiny_params)
    found = kl_to_reference(reference, tiny_model, rollouts, settings=LOSS, rows_per_micro_batch=rows)
    expected = row_by_row(reference, tiny_model, rollouts)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert min(abs(value) for value in expected) > 1e-3
    same = kl_to_reference(tiny_params, tiny_model, rollouts, settings=LOSS, rows_per_micro_batch=rows)
    np.testing.assert_allclose(same, np.zeros(6), atol=2e-5)  # the sampler itself


@pytest.mark.slow
def test_mean_over_samples_is_the_kl_divergence(tiny_model, tiny_params):
    """Of one token: sum over the vocabulary of p * log(p / q)."""
    reference = jax.tree.map(lambda leaf: leaf * 1.3, tiny_params)
    prompts = PromptBatch(tokens=np.array([[5, 3]], np.int32), lengths=np.array([2], np.int32))
    settings = SamplingSettings(max_completion_tokens=1, temperature=0.8, top_p=1.0, stop_ids=(-1,), pad_id=0)
    drawn = sample(
        tiny_params, prompts, key=jax.random.key(0), model=tiny_model, settings=settings, samples_per_prompt=1000
    )
    every = map_rows(lambda leaf: leaf[:11], drawn).replace(tokens=np.arange(11, dtype=np.int32)[:, None])
    ours, theirs = (
        policy_logprobs(params, tiny_model, every, temperature=0.8, chunk_tokens=1000)[:, 0]
        for params in (tiny_params, reference)
    )
    expected = float(np.sum(np.exp(ours) * (ours - theirs)))
    found = kl_to_reference(reference, tiny_model, drawn, settings=LOSS, rows_per_micro_batch=500)
    assert expected > 0.01
    assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / 1000**0.5)


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
        alone = policy_kl(whole, frozen, None, mesh=mesh, **options)
        np.testing.assert_allclose(alone, expected, atol=2e-5)
        students = population_kl(parallel.shard_population(mesh, halves), frozen, None, mesh=mesh, **options)
        np.testing.assert_allclose(students, np.reshape(expected, (2, 3)), atol=2e-5)


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
    found = policy_kl(rollouts, adapters, frozen_base, **options)
    np.testing.assert_allclose(found, policy_kl(rollouts, tiny_params, None, **options), atol=1e-6)
