import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from soar_jax import parallel
from soar_jax.rl.gradient import accumulated_gradient
from soar_jax.rl.losses import Comparison, LossSettings, completion_mask, policy_gradient_loss, policy_logprobs
from soar_jax.rl.population import init_population, update_policy, update_population
from soar_jax.rl.train_step import (
    OptimizerSettings,
    comparison_metrics,
    init_train_state,
    make_optimizer,
    train_step,
)

LOSS = LossSettings(temperature=0.8, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=5)
ADAMW = OptimizerSettings(b1=0.9, b2=0.99, eps=1e-5, weight_decay=0.1, max_grad_norm=1.0)
RATE = 1e-2


@pytest.mark.slow
def test_clipped_tokens_have_no_gradient(tiny_model, tiny_params, batch):
    clipped = dataclasses.replace(LOSS, clip_ratio=0.2)
    gradient_of = jax.grad(policy_gradient_loss, has_aux=True)
    on_policy, _ = gradient_of(tiny_params, batch, model=tiny_model, settings=LOSS)
    same, _ = gradient_of(tiny_params, batch, model=tiny_model, settings=clipped)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5), on_policy, same)  # ratio 1
    positive = batch.replace(
        advantages=jnp.abs(batch.advantages),
        rollouts=batch.rollouts.replace(sampler_logprobs=batch.rollouts.sampler_logprobs - 1.0),  # ratio e
    )
    gradient, _ = gradient_of(tiny_params, positive, model=tiny_model, settings=clipped)
    assert optax.tree.norm(gradient) == 0


@pytest.mark.slow
def test_importance_weights_are_truncated_and_constant(tiny_model, tiny_params, batch):
    """Tokens whose ratio is e / 2 and 2 e: the gradient is that of the plain loss with weights put in by hand."""
    shift = np.where(np.arange(5) % 2, np.log(0.5 * np.e), np.log(2 * np.e)).astype(np.float32)
    exact = policy_logprobs(
        tiny_params, tiny_model, batch.rollouts, temperature=LOSS.temperature, chunk_tokens=LOSS.chunk_tokens
    )
    shifted = batch.replace(rollouts=batch.rollouts.replace(sampler_logprobs=exact - shift))
    capped = dataclasses.replace(LOSS, importance_cap=2.0)
    weights = jnp.minimum(jnp.exp(shift), 2.0)  # e / 2 and 2

    def by_hand(params):
        logprobs = policy_logprobs(
            params, tiny_model, batch.rollouts, temperature=LOSS.temperature, chunk_tokens=LOSS.chunk_tokens
        )
        return jnp.sum(-weights * batch.advantages[:, None] * logprobs * completion_mask(batch.rollouts))

    value, gradient = jax.value_and_grad(by_hand)(tiny_params)
    (loss, comparison), found = jax.value_and_grad(policy_gradient_loss, has_aux=True)(
        tiny_params, shifted, model=tiny_model, settings=capped
    )
    assert loss == pytest.approx(float(value), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, gradient)
    num_tokens = int(batch.rollouts.lengths.sum())
    in_tokens = np.arange(5) < np.asarray(batch.rollouts.lengths)[:, None]
    assert comparison.num_tokens == num_tokens
    assert comparison.absolute == pytest.approx(float((shift * in_tokens).sum()), rel=1e-4)
    assert comparison.k3 == pytest.approx(float(((np.exp(shift) - shift - 1) * in_tokens).sum()), rel=1e-4)
    assert comparison.reference_k3 == 0


def test_tokens_are_counted_by_the_distance_of_their_ratio_to_1():
    """Ratios on both sides of each bound, below and above 1; the last two are of no token."""
    ratios = np.array([1.0, 1.0009, 0.9991, 1.0011, 0.991, 1.009, 0.989, 1.049, 0.951, 1.051, 2.0, 1.0, 3.0])
    mask = np.array([1.0] * 11 + [0.0] * 2, np.float32)
    zero = np.zeros((1, 13))
    comparison = Comparison.of(np.log(ratios, dtype=np.float32)[None], zero, mask[None], reference_k3=zero)
    assert comparison.ratio_within.tolist() == [3, 6, 9]
    metrics = comparison_metrics(comparison, has_reference=False)
    assert {name: float(value) for name, value in metrics.items() if name.startswith("ratio")} == {
        "ratio_within_0.001": pytest.approx(3 / 11),
        "ratio_within_0.01": pytest.approx(6 / 11),
        "ratio_within_0.05": pytest.approx(9 / 11),
    }
    assert "reference_kl" not in metrics


@pytest.mark.slow
def test_the_divergence_to_the_reference_is_per_token(tiny_model, tiny_params, batch):
    reference = jax.tree.map(lambda leaf: leaf * 1.1, tiny_params)
    settings = dataclasses.replace(LOSS, kl_coef=0.1)
    own, other = (
        policy_logprobs(
            params, tiny_model, batch.rollouts, temperature=LOSS.temperature, chunk_tokens=LOSS.chunk_tokens
        )
        for params in (tiny_params, reference)
    )
    _, comparison, _ = accumulated_gradient(
        tiny_params, batch.replace(reference_logprobs=other), None, tiny_model, settings, rows_per_micro_batch=2
    )
    k3 = (np.exp(other - own) - (other - own) - 1) * completion_mask(batch.rollouts)
    metrics = comparison_metrics(comparison, has_reference=True)
    assert metrics["reference_kl"] == pytest.approx(float(k3.sum() / batch.rollouts.lengths.sum()), rel=1e-3)
    assert metrics["reference_kl"] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_equal_optax_adamw_with_a_schedule(tiny_model, tiny_params, batch, weight_decay):
    settings = dataclasses.replace(ADAMW, weight_decay=weight_decay, max_grad_norm=0.5)
    schedule = optax.warmup_cosine_decay_schedule(0.0, RATE, warmup_steps=2, decay_steps=5)
    reference = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(schedule, b1=settings.b1, b2=settings.b2, eps=settings.eps, weight_decay=weight_decay),
    )
    weights, opt_state = tiny_params, reference.init(tiny_params)
    state = init_train_state(tiny_params, make_optimizer(settings))
    options = {"frozen_base": None, "model": tiny_model, "loss": LOSS, "optimizer": settings}
    step = jax.jit(functools.partial(train_step, rows_per_micro_batch=2, **options))
    for index in range(5):
        _, _, gradient = accumulated_gradient(weights, batch, None, tiny_model, LOSS, rows_per_micro_batch=2)
        updates, opt_state = reference.update(gradient, opt_state, weights)
        weights = optax.apply_updates(weights, updates)
        state, _ = step(state, batch, float(schedule(index)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), state.weights, weights)
    assert step._cache_size() == 1  # another rate compiles nothing
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.weights, tiny_params)
    assert min(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
def test_a_batch_without_a_signal_leaves_the_state_as_it_is(tiny_model, tiny_params, batch, kl_coef):
    """To the bit, after a step that has filled the moments, also with a KL term and weight decay."""
    step = functools.partial(
        train_step,
        learning_rate=RATE,
        frozen_base=None,
        model=tiny_model,
        loss=dataclasses.replace(LOSS, kl_coef=kl_coef),
        optimizer=ADAMW,
        rows_per_micro_batch=2,
    )
    if kl_coef:
        batch = batch.replace(reference_logprobs=batch.rollouts.sampler_logprobs)
    moved, _ = step(init_train_state(tiny_params, make_optimizer(ADAMW)), batch)
    after, metrics = step(moved, batch.replace(advantages=np.zeros_like(batch.advantages)))
    assert metrics["active_share"] == 0
    jax.tree.map(np.testing.assert_array_equal, moved, after)
    assert np.isnan(metrics["mismatch"]) == (kl_coef == 0)  # nothing was computed


def test_a_learning_rate_scale_is_a_factor_on_the_rate(tiny_model, tiny_params, batch):
    """On weight decay too."""
    options = {"frozen_base": None, "model": tiny_model, "loss": LOSS, "rows_per_micro_batch": 2}
    state = init_train_state(tiny_params, make_optimizer(ADAMW))
    scaled, _ = train_step(state, batch, 0.5, optimizer=dataclasses.replace(ADAMW, learning_rate_scale=8.0), **options)
    plain, _ = train_step(state, batch, 4.0, optimizer=ADAMW, **options)
    jax.tree.map(np.testing.assert_array_equal, scaled, plain)


def test_optimizer_state_has_the_tree_of_earlier_checkpoints(tiny_params):
    earlier = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(tiny_params)
    assert jax.tree.structure(make_optimizer(ADAMW).init(tiny_params)) == jax.tree.structure(earlier)


def test_train_step_is_the_program_of_one_policy(tiny_model, tiny_params, batch):
    options = {"frozen_base": None, "model": tiny_model, "loss": LOSS, "optimizer": ADAMW}
    options["rows_per_micro_batch"] = 2
    fresh = init_train_state(tiny_params, make_optimizer(ADAMW))
    state, metrics = train_step(fresh, batch, RATE, **options)
    own = jax.tree.map(jnp.copy, fresh)
    expected, expected_metrics = update_policy(own, batch, mesh=parallel.make_mesh(1), learning_rate=RATE, **options)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), (state, metrics), (expected, expected_metrics)
    )
    assert metrics["active_share"] == pytest.approx(4 / 6)
    assert 0 <= metrics["mismatch"] < 1e-5  # the sampler's arithmetic is the trainer's
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state.weights, tiny_params)), strict=True))


@pytest.mark.slow
def test_population_of_three_equals_three_students(tiny_model, tiny_params, batch):
    mesh = parallel.make_mesh(1)
    states = init_population(tiny_params, mesh=mesh, model=tiny_model, optimizer=ADAMW, size=3)
    scales = [1.0, -0.5, 0.0]
    batches = jax.tree.map(lambda leaf: np.stack([leaf] * 3), batch)
    batches = batches.replace(advantages=np.stack([batch.advantages * scale for scale in scales]))
    loss = dataclasses.replace(LOSS, completion_buckets=2)
    options = {"model": tiny_model, "loss": loss, "optimizer": ADAMW, "rows_per_micro_batch": 2}
    for population_batch in (1, 3):
        trained = jax.tree.map(jnp.copy, states)
        for _ in range(2):
            trained, metrics = update_population(
                trained,
                batches,
                frozen_base=None,
                learning_rate=RATE,
                mesh=mesh,
                population_batch=population_batch,
                **options,
            )
        for student, scale in enumerate(scales):
            alone = init_train_state(jax.tree.map(jnp.copy, tiny_params), make_optimizer(ADAMW))
            for _ in range(2):
                alone, one = update_policy(
                    alone,
                    batch.replace(advantages=batch.advantages * scale),
                    frozen_base=None,
                    learning_rate=RATE,
                    mesh=mesh,
                    **options,
                )
            jax.tree.map(
                lambda a, b, student=student: np.testing.assert_allclose(a[student], b, atol=1e-6),
                trained.weights,
                alone.weights,
            )
            assert metrics["loss"][student] == pytest.approx(float(one["loss"]), abs=1e-6)


@pytest.mark.slow
def test_sharding_over_two_devices_changes_no_student(tiny_model, tiny_params, batch):
    batches = jax.tree.map(lambda leaf: np.stack([leaf] * 4), batch)
    options = {"model": tiny_model, "loss": LOSS, "optimizer": ADAMW, "rows_per_micro_batch": 2, "population_batch": 1}
    results = []
    for size in (1, 2):
        mesh = parallel.make_mesh(size)
        states = init_population(
            parallel.replicate(mesh, tiny_params), mesh=mesh, model=tiny_model, optimizer=ADAMW, size=4
        )
        state, _ = update_population(
            states,
            parallel.shard_population(mesh, batches),
            frozen_base=None,
            learning_rate=RATE,
            mesh=mesh,
            **options,
        )
        results.append(jax.device_get(state.weights))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *results)
