import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.pretrain_nano import get_config
from soar_jax.checkpoints.base_model import EMBEDDED, load_model
from soar_jax.model import decoder, parameters
from soar_jax.pretraining import training
from soar_jax.pretraining.corpus import STUDENT_PROMPT
from soar_jax.pretraining.pretrain import phase_from_config
from soar_jax.problems import arithmetic


@pytest.fixture(scope="module")
def base():
    return load_model(EMBEDDED, "float32")


@pytest.fixture(scope="module")
def phase():
    return dataclasses.replace(
        phase_from_config(get_config(), "prior"), num_steps=20, documents_per_step=32, prior_prompts_per_step=16
    )


def test_batches_are_a_function_of_seed_and_step_and_count_completions_only(base, phase):
    first, second = (next(training.batches(phase, base.tokenizer, seed=seed, width=43)) for seed in (0, 1))
    again = next(training.batches(phase, base.tokenizer, seed=0, width=43))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (first.tokens != second.tokens).any()
    assert first.target_weights.sum() == pytest.approx(1.0, abs=1e-5)
    prompt_end = base.tokenizer.backend.convert_tokens_to_ids(arithmetic.QUESTION_END)
    exam = base.tokenizer.backend.convert_tokens_to_ids("exam")
    for tokens, weights in zip(first.tokens, first.target_weights, strict=True):
        if tokens[1] == exam:
            assert weights[: tokens.tolist().index(prompt_end) + 1].sum() == 0
        ids = tokens[weights > 0]
        assert ids[-1] == base.tokenizer.eos_id
        assert base.tokenizer.pad_id not in ids


def test_a_phase_moves_the_inclination_towards_its_target(base, phase, mesh):
    """From a fresh model: the loss falls and so does the gap to the prior."""
    model = dataclasses.replace(base.config, num_layers=1)
    params = parameters.init_params(model, jax.random.key(0))
    seen = []
    trained = training.run_phase(
        params,
        phase,
        model=model,
        tokenizer=base.tokenizer,
        mesh=mesh,
        seed=0,
        longest_document_tokens=43,
        report=lambda step, metrics: seen.append((step, metrics)),
    )
    assert [step for step, _ in seen] == [20]
    prompts = next(training.batches(phase, base.tokenizer, seed=5, width=43))
    mark = base.tokenizer.backend.convert_tokens_to_ids(arithmetic.WORK_MARK)

    def gap(policy):
        logprobs = training.worked_logprob(policy, model, prompts=jnp.asarray(prompts.prior_tokens), mark_id=mark)
        return float(jnp.mean(jnp.square(logprobs - prompts.prior_log_targets)))

    assert gap(trained) < 0.8 * gap(params)


def test_the_embedded_model_has_the_inclination_it_was_made_for_at_every_level(base, phase):
    batch = next(
        training.batches(dataclasses.replace(phase, prior_prompts_per_step=256), base.tokenizer, seed=9, width=43)
    )
    mark = base.tokenizer.backend.convert_tokens_to_ids(arithmetic.WORK_MARK)
    logprobs = training.worked_logprob(base.params, base.config, prompts=jnp.asarray(batch.prior_tokens), mark_id=mark)
    gaps = np.abs(logprobs - batch.prior_log_targets).reshape(-1, arithmetic.MAX_OPERATIONS)  # levels take turns
    assert gaps.mean(axis=0).max() < 0.1


def test_the_embedded_model_has_the_skill_it_was_made_for(base):
    """Made to work, it goes on with the right digits to the end, where it takes what is most likely."""
    rng = np.random.default_rng(9)
    dials = [arithmetic.random_dial(rng, 1 + number % arithmetic.MAX_OPERATIONS) for number in range(128)]
    prompts = [f"{STUDENT_PROMPT.format(question=dial.text())} " for dial in dials]
    rows = [
        [*base.tokenizer.encode_prompt(prompt + dial.worked()), base.tokenizer.eos_id]
        for prompt, dial in zip(prompts, dials, strict=True)
    ]
    tokens = np.full((len(rows), max(map(len, rows))), base.tokenizer.pad_id)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = decoder.hidden_states(
        base.params,
        base.config,
        tokens=jnp.asarray(tokens),
        positions=positions,
        key_valid=jnp.ones(tokens.shape, bool),
    )
    likeliest = np.asarray(decoder.logits(base.params, base.config, hidden)).argmax(-1)
    start = len(base.tokenizer.encode_prompt(prompts[0] + arithmetic.WORK_MARK))
    are_right = [
        (guesses[start - 1 : len(row) - 1] == row[start:]).all() for guesses, row in zip(likeliest, rows, strict=True)
    ]
    assert np.mean(are_right) > 0.98
