"""The paper's counts of hard problems beside a run's own."""

import pytest

from soar_jax.problems.paper_pools import described
from tests.configs import make_config


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        ("llama3.2-3b", " (paper: 359 and 360 of 5,000)"),
        ("llama3.2-3b:harp", " (paper: 714 and 714 of 4,768)"),
        ("llama3.2-3b:olympiadbench", " (paper: 158 and 158 of 674)"),
        ("llama3.1-8b", ""),
        ("nano", ""),
    ],
)
def test_the_papers_counts_are_those_of_its_pools(scale, text):
    assert described(make_config(scale=scale)) == text


def test_other_problems_have_no_counts():
    assert described(make_config(scale="llama3.2-3b", **{"model.source": "/models/Llama-3.2-3B-Instruct/"}))
    assert not described(make_config(scale="llama3.2-3b", **{"problems.levels": (5,)}))
    assert not described(make_config(scale="llama3.2-3b", **{"problems.source": "gsm8k"}))
