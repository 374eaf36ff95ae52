import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.config.policy_sections import LoRASection
from soar_jax.errors import SettingsError
from soar_jax.model import decoder, lora
from soar_jax.model.lora import FrozenBase

ALL = LoRASection(rank=3, scale=0.5, layers=(*lora.LAYERS, lora.UNEMBEDDING))


def logits(params, model):
    tokens = jnp.array([[1, 2, 3, 4], [5, 6, 7, 0]])
    valid = jnp.array([[True] * 4, [True] * 3 + [False]])
    positions = jnp.broadcast_to(jnp.arange(4), tokens.shape)
    hidden, _ = decoder.hidden_states(params, model, tokens=tokens, positions=positions, key_valid=valid)
    return decoder.logits(params, model, hidden)


def perturb(adapters):
    """Adapters whose `b` is no longer zero."""
    leaves, tree = jax.tree.flatten(adapters)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.fixture
def frozen_base(tiny_params):
    return FrozenBase(tiny_params, jnp.float32(ALL.scale))


@pytest.mark.slow
def test_fresh_adapters_change_nothing(tiny_model, tiny_params, frozen_base):
    adapters = lora.init_adapters(ALL, tiny_model, jax.random.key(1))
    adapted = lora.decoder_params(adapters, frozen_base, tiny_model)
    np.testing.assert_array_equal(logits(adapted, tiny_model), logits(tiny_params, tiny_model))


def test_adapters_add_scale_times_a_times_b(tiny_model, tiny_params, frozen_base):
    one = LoRASection(rank=2, scale=0.5, layers=("out",))
    adapters = perturb(lora.init_adapters(one, tiny_model, jax.random.key(1)))
    a, b = adapters["layers"]["out"]
    by_hand = tiny_params["layers"]["out"] + 0.5 * jnp.einsum("lir,lro->lio", a, b).reshape(2, 4, 4, 16)
    merged = lora.merge(adapters, frozen_base)
    np.testing.assert_allclose(merged["layers"]["out"], by_hand, atol=1e-6)
    np.testing.assert_array_equal(merged["layers"]["gate"], tiny_params["layers"]["gate"])


@pytest.mark.parametrize("layers", [ALL.layers, ("query",), ("down", "out"), (lora.UNEMBEDDING,)])
def test_a_merged_policy_equals_its_adapters(tiny_model, tiny_params, frozen_base, layers):
    settings = dataclasses.replace(ALL, layers=layers)
    adapters = perturb(lora.init_adapters(settings, tiny_model, jax.random.key(1)))
    adapted = logits(lora.decoder_params(adapters, frozen_base, tiny_model), tiny_model)
    np.testing.assert_allclose(adapted, logits(lora.merge(adapters, frozen_base), tiny_model), atol=2e-5)
    assert np.abs(adapted - logits(tiny_params, tiny_model)).max() > 1e-3


def test_an_adapters_init_does_not_depend_on_the_others(tiny_model):
    few = lora.init_adapters(LoRASection(rank=3, scale=1.0, layers=("up",)), tiny_model, jax.random.key(1))
    many = lora.init_adapters(ALL, tiny_model, jax.random.key(1))
    np.testing.assert_array_equal(few["layers"]["up"].a, many["layers"]["up"].a)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"layers": ("query", "router")}, "router"),
        ({"layers": ()}, "lora.layers"),
        ({"rank": 17}, "lora.rank"),
        ({"scale": 0.0}, "lora.scale"),
    ],
)
def test_invalid_adapters_are_refused(tiny_model, change, word):
    with pytest.raises(SettingsError, match=word):
        lora.init_adapters(dataclasses.replace(ALL, **change), tiny_model, jax.random.key(0))


def test_a_tied_unembedding_has_no_adapter(tiny_model):
    tied = dataclasses.replace(tiny_model, tie_embeddings=True)
    with pytest.raises(SettingsError, match="unembedding"):
        lora.init_adapters(ALL, tied, jax.random.key(0))
