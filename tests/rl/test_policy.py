"""The settings of a kind of policy, for a model."""

import dataclasses

import pytest

from soar_jax.config.policy_sections import LoRASection, StudentSection
from soar_jax.rl.policy import policy_settings


@pytest.mark.parametrize(
    ("changes", "cap"), [({}, 0.0), ({"dtype": "bfloat16"}, 2.0), ({"int8_cache": True}, 2.0)], ids=str
)
def test_importance_weights_are_for_samplers_of_other_rounding(tiny_model, changes, cap):
    model = dataclasses.replace(tiny_model, **changes)
    assert policy_settings(StudentSection(), None, model).loss.importance_cap == cap
    assert policy_settings(StudentSection(importance_cap=0.0), None, model).loss.importance_cap == 0


def test_adapters_have_a_learning_rate_of_their_own(tiny_model):
    whole = policy_settings(StudentSection(), None, tiny_model).optimizer
    adapters = policy_settings(StudentSection(), None, tiny_model, LoRASection(rank=4)).optimizer
    assert (whole.learning_rate_scale, adapters.learning_rate_scale) == (1, 10)
