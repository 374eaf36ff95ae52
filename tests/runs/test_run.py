"""Transfer problems of a run."""

import json
from types import SimpleNamespace

import pytest

from soar_jax.errors import SettingsError
from soar_jax.problems.sources import load_problems
from soar_jax.runs.run import transfer_problems
from soar_jax.types import Problem
from tests.configs import make_config


def problem(question):
    return Problem(id=f"id of {question}", question=question, answer="1", subject="", level=1)


@pytest.fixture
def transfer(tmp_path):
    """Returns the transfer questions that are kept, and the number of dropped ones."""

    def benchmark(section, *questions):
        path = tmp_path / f"{section}.jsonl"
        path.write_text("".join(json.dumps({"question": text, "answer": "#### 1"}) + "\n" for text in questions))
        return {f"{section}.source": "gsm8k", f"{section}.path": str(path), f"{section}.levels": ()}

    def transfer(*candidates, problems=()):
        changes = benchmark("transfer", "What is A?", "b", "c", "too long", "d")
        config = make_config(**changes, **(benchmark("problems", *problems) if problems else {}))
        setup = SimpleNamespace(
            config=config, sampler=SimpleNamespace(fits=lambda question: "too long" not in question)
        )
        others = load_problems(config.transfer, "transfer", config.transfer.num_problems)
        kept, num_dropped = transfer_problems(setup, others, [problem(question) for question in candidates])
        return sorted(item.question for item in kept), num_dropped

    return transfer


def test_transfer_problems_that_are_trained_on_are_dropped(transfer):
    assert transfer("what\nis  a?", "x") == (["b", "c", "d"], 1)  # case and layout apart


def test_transfer_drops_all_of_the_benchmark_trained_on(transfer):
    """Curated problems are drawn from all of it, not from the candidates alone."""
    assert transfer("e", problems=("what is a?", "C", "e")) == (["b", "d"], 2)


def test_a_transfer_without_problems_of_its_own_is_refused(transfer):
    with pytest.raises(SettingsError, match="all transfer problems are among the problems, which are trained on"):
        transfer("what is a?", "b", "c", "d")
