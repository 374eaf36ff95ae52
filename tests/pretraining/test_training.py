import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.model import decoder, parameters
from soar_jax.pretraining import training
from soar_jax.pretraining.corpus import STUDENT_PROMPT
from soar_jax.pretraining.pretrain import make_phase
from soar_jax.problems import arithmetic
from tests.configs import pretrain_config


@pytest.fixture(scope="module")
def phase():
    return dataclasses.replace(
        make_phase(pretrain_config(), "prior"), num_steps=20, documents_per_step=32, prior_prompts_per_step=16
    )


def test_batches(nano_model, phase):
    """Batches are a function of seed and step, and only continuations are targets."""
    first, second = (next(training.batches(phase, nano_model.tokenizer, seed=seed, width=43)) for seed in (0, 1))
    again = next(training.batches(phase, nano_model.tokenizer, seed=0, width=43))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (first.tokens != second.tokens).any()
    assert first.target_weights.sum() == pytest.approx(1.0, abs=1e-5)
    prompt_end = nano_model.tokenizer.backend.convert_tokens_to_ids(arithmetic.QUESTION_END)
    exam = nano_model.tokenizer.backend.convert_tokens_to_ids("exam")
    for tokens, weights in zip(first.tokens, first.target_weights, strict=True):
        if tokens[1] == exam:
            assert weights[: tokens.tolist().index(prompt_end) + 1].sum() == 0
        ids = tokens[weights > 0]
        assert ids[-1] == nano_model.tokenizer.eos_id
        assert nano_model.tokenizer.pad_id not in ids


@pytest.mark.slow
def test_phase_reduces_the_gap_to_the_target_prior(nano_model, phase, mesh):
    model = dataclasses.replace(nano_model.config, num_layers=1)
    params = parameters.init_params(model, jax.random.key(0))
    seen = []
    trained = training.run_phase(
        params,
        phase,
        model=model,
        tokenizer=nano_model.tokenizer,
        mesh=mesh,
        seed=0,
        longest_document_tokens=43,
        report=lambda step, metrics: seen.append((step, metrics)),
    )
    assert [step for step, _ in seen] == [20]
    prompts = next(training.batches(phase, nano_model.tokenizer, seed=5, width=43))
    mark = nano_model.tokenizer.backend.convert_tokens_to_ids(arithmetic.WORK_MARK)

    def gap(policy):
        logprobs = training.worked_logprob(policy, model, prompts=jnp.asarray(prompts.prior_tokens), mark_id=mark)
        return float(jnp.mean(jnp.square(logprobs - prompts.prior_log_targets)))

    assert gap(trained) < 0.8 * gap(params)


def test_embedded_model_has_the_target_prior_at_every_level(nano_model, phase):
    batch = next(
        training.batches(dataclasses.replace(phase, prior_prompts_per_step=256), nano_model.tokenizer, seed=9, width=43)
    )
    mark = nano_model.tokenizer.backend.convert_tokens_to_ids(arithmetic.WORK_MARK)
    logprobs = training.worked_logprob(
        nano_model.params, nano_model.config, prompts=jnp.asarray(batch.prior_tokens), mark_id=mark
    )
    gaps = np.abs(logprobs - batch.prior_log_targets).reshape(-1, arithmetic.MAX_OPERATIONS)  # levels alternate
    assert gaps.mean(axis=0).max() < 0.1


def test_embedded_model_works_problems_correctly(nano_model):
    """With the work mark in the prompt, greedy decoding gives the right digits to the end."""
    rng = np.random.default_rng(9)
    dials = [arithmetic.random_dial(rng, 1 + number % arithmetic.MAX_OPERATIONS) for number in range(128)]
    prompts = [f"{STUDENT_PROMPT.format(question=dial.text())} " for dial in dials]
    rows = [
        [*nano_model.tokenizer.encode_prompt(prompt + dial.worked()), nano_model.tokenizer.eos_id]
        for prompt, dial in zip(prompts, dials, strict=True)
    ]
    tokens = np.full((len(rows), max(map(len, rows))), nano_model.tokenizer.pad_id)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = decoder.hidden_states(
        nano_model.params,
        nano_model.config,
        tokens=jnp.asarray(tokens),
        positions=positions,
        key_valid=jnp.ones(tokens.shape, bool),
    )
    greedy = np.asarray(decoder.logits(nano_model.params, nano_model.config, hidden)).argmax(-1)
    start = len(nano_model.tokenizer.encode_prompt(prompts[0] + arithmetic.WORK_MARK))
    are_right = [
        (guesses[start - 1 : len(row) - 1] == row[start:]).all() for guesses, row in zip(greedy, rows, strict=True)
    ]
    assert np.mean(are_right) > 0.98
