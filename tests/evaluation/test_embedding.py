import numpy as np
import pytest

from soar_jax.evaluation.diversity import vendi_score
from soar_jax.evaluation.embedding import CentredEmbedder, ModelEmbedder
from soar_jax.model import decoder
from soar_jax.problems import arithmetic

TEXTS = ["sum 3 1 4", "largest 9 2 2 rotate", "coin 0 0 0"]


@pytest.mark.slow
def test_vector_is_the_mean_hidden_state_without_padding(nano_sampler):
    sampler, params = nano_sampler
    vectors = ModelEmbedder(sampler=sampler, weights=params, rows_per_call=2).embed(TEXTS)
    assert vectors.shape == (3, sampler.model.d_model)
    for text, vector in zip(TEXTS, vectors, strict=True):
        prompt = sampler.encode([text])
        tokens = prompt.tokens[:, : prompt.lengths[0]]
        positions = np.arange(tokens.shape[1])[None]
        hidden, _ = decoder.hidden_states(
            params, sampler.model, tokens=tokens, positions=positions, key_valid=np.ones_like(tokens, bool)
        )
        np.testing.assert_allclose(vector, np.asarray(hidden)[0].mean(axis=0), rtol=1e-4, atol=1e-5)


def test_vector_does_not_depend_on_the_batch(nano_sampler):
    embedder = ModelEmbedder(sampler=nano_sampler[0], weights=nano_sampler[1], rows_per_call=2)
    np.testing.assert_allclose(embedder.embed(TEXTS)[2], embedder.embed(TEXTS[::-1])[0], rtol=1e-5, atol=1e-6)
    assert embedder.embed([]).shape[0] == 0


def test_centred_vectors_distinguish_questions(nano_sampler):
    plain = ModelEmbedder(sampler=nano_sampler[0], weights=nano_sampler[1], rows_per_call=2)
    questions = [problem.question for problem in arithmetic.generate_problems(np.random.default_rng(0), (1, 2, 3), 30)]
    centred = CentredEmbedder(embedder=plain, centre=plain.embed(questions).mean(axis=0))
    np.testing.assert_allclose(centred.embed(questions).mean(axis=0), 0, atol=1e-4)
    assert vendi_score(centred.embed(questions)) > 1.5 * vendi_score(plain.embed(questions))
    assert vendi_score(centred.embed(TEXTS[:1] * 3)) == pytest.approx(1)
