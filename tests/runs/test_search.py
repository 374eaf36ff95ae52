"""The warning of training steps that change nothing."""

from types import SimpleNamespace

import pytest

from soar_jax.runs import search
from tests.configs import make_config


@pytest.mark.parametrize(
    ("share", "is_warned"), [(0.0, True), (0.0009, True), (0.001, False), (0.5, False), (None, False)]
)
def test_a_run_warns_if_the_inner_loop_changes_next_to_nothing(share, is_warned):
    """None: no student had a signal, or the method trains none."""
    said = []
    context = SimpleNamespace(
        setup=SimpleNamespace(config=make_config(), sampler=SimpleNamespace(model=SimpleNamespace(dtype="bfloat16"))),
        display=SimpleNamespace(say=said.append),
    )
    # Private: from outside it takes a run whose steps are lost.
    search._warn_of_lost_steps(context, {"inner_changed_share": share})
    assert len(said) == is_warned
    if is_warned:
        assert "of the students' bfloat16 weights. Raise student.learning_rate, which is 0.0003" in said[0]
