"""What a run checks and loads before its model, and its transfer problems."""

import json
from types import SimpleNamespace

import pytest
from etils import epath

from soar_jax.errors import SettingsError
from soar_jax.problems.sources import load_problems
from soar_jax.runs.run import check, transfer_problems
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

    def transfer(*candidates, problems=(), **more):
        changes = more | benchmark("transfer", "What is A?", "b", "c", "too long", "d")
        config = make_config(**changes, **(benchmark("problems", *problems) if problems else {}))
        setup = SimpleNamespace(
            config=config, sampler=SimpleNamespace(fits=lambda question: "too long" not in question)
        )
        others = load_problems(config.transfer, "transfer", config.transfer.num_problems)
        kept, num_dropped = transfer_problems(setup, others, [problem(question) for question in candidates])
        return sorted(item.question for item in kept), num_dropped

    return transfer


def test_no_transfer_loads_nothing(tmp_path):
    config = make_config(**{"transfer.source": "none", "transfer.path": "no/such/file", "transfer.levels": ()})
    inputs = check(config, epath.Path(tmp_path / "run"), profiled=False)
    assert inputs.transfer == []
    assert transfer_problems(SimpleNamespace(config=config), inputs.transfer, []) == ((), 0)


def test_a_source_that_is_none_is_found_before_the_model(tmp_path):
    config = make_config("grounded_teacher", **{"source_run": str(tmp_path / "no"), "model.source": "no/such/model"})
    with pytest.raises(SettingsError, match=r"source_run is .*/no, which is no run's workdir"):
        check(config, epath.Path(tmp_path / "run"), profiled=False)


def test_curated_problems_are_not_those_of_transfer(transfer, tmp_path):
    path = tmp_path / "curated.jsonl"
    path.write_text(json.dumps({"question": "B", "answer": "#### 1"}) + "\n")
    keys = {"source": "curated", "curated_source": "gsm8k", "curated_path": str(path), "levels": (1,)}
    curated = {f"curriculum.{key}": value for key, value in keys.items()}
    assert transfer("x", **curated) == (["What is A?", "c", "d"], 1)
    assert transfer("x", **curated | {"curriculum.source": "promotions"}) == (["What is A?", "b", "c", "d"], 0)


def test_transfer_problems_that_are_trained_on_are_dropped(transfer):
    assert transfer("what\nis  a?", "x") == (["b", "c", "d"], 1)  # case and layout apart


def test_transfer_drops_all_of_the_benchmark_trained_on(transfer):
    """Curated problems are drawn from all of it, not from the candidates alone."""
    assert transfer("e", problems=("what is a?", "C", "e")) == (["b", "d"], 2)


def test_a_transfer_without_problems_of_its_own_is_refused(transfer):
    with pytest.raises(SettingsError, match="all transfer problems are among the problems, which are trained on"):
        transfer("what is a?", "b", "c", "d")
